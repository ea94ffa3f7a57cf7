// SPDX-License-Identifier: Apache-2.0
#include "uplift/heard.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "core/thread_pool.h"
#include "uplift/packed_rows.h"

namespace panoptic_gs {

namespace {

constexpr uint32_t kTable = 1u << 22;  // labels below it are numbered by a table, others by searching

// Each label's place among those that occur.
class Numbers {
public:
    explicit Numbers(const std::vector<int32_t>& labels) : labels_(labels) {
        if (labels.empty() || static_cast<uint32_t>(labels.back()) >= kTable) return;
        table_.assign(static_cast<size_t>(labels.back()) + 1, 0);
        for (size_t i = 0; i < labels.size(); ++i) table_[static_cast<size_t>(labels[i])] = static_cast<uint32_t>(i);
    }

    size_t of(uint32_t label) const {
        if (!table_.empty()) return table_[label];
        return static_cast<size_t>(std::lower_bound(labels_.begin(), labels_.end(), static_cast<int32_t>(label)) -
                                   labels_.begin());
    }

private:
    const std::vector<int32_t>& labels_;
    std::vector<uint32_t> table_;
};

// One row, by ascending label.
class Row {
public:
    void read(const PackedRow& row) {
        const size_t room = static_cast<size_t>(row.count) + kRowGroup;
        if (label.size() < room) label.resize(2 * room), sum.resize(2 * room), share.resize(2 * room);
        count = row.count;
        unpack_row(row, label.data(), sum.data());
        if (std::is_sorted(label.begin(), label.begin() + count)) return;
        pairs_.clear();
        for (uint32_t i = 0; i < count; ++i) pairs_.emplace_back(label[i], sum[i]);
        std::sort(pairs_.begin(), pairs_.end());
        for (uint32_t i = 0; i < count; ++i) label[i] = pairs_[i].first, sum[i] = pairs_[i].second;
    }

    uint32_t count = 0;
    std::vector<uint32_t> label;
    std::vector<uint64_t> sum;
    std::vector<double> share;  // of all views but one

private:
    std::vector<std::pair<uint32_t, uint64_t>> pairs_;
};

// Calls visit(row, first, last) for the row of each Gaussian in `own`, whose pairs are own[first, last).
template <class Visit>
void visit_own_rows(const VoteStore& store, const OwnWord& own, Visit&& visit) {
    Row row;
    int64_t chunk = -1, gaussian = 0;
    const uint8_t* at = nullptr;
    for (int64_t first = 0; first < own.count;) {
        int64_t last = first + 1;
        while (last < own.count && own.gaussian[last] == own.gaussian[first]) ++last;
        const int64_t wanted = own.gaussian[first];
        if (wanted < 0 || wanted >= store.num_gaussians()) throw std::invalid_argument("votes of other Gaussians");
        if (wanted >> store.chunk_shift() != chunk) {
            chunk = wanted >> store.chunk_shift();
            gaussian = store.chunk_begin(chunk);
            at = store.rows(chunk);
        }
        if (wanted < gaussian) throw std::invalid_argument("votes that do not ascend");
        PackedRow packed = read_row(at);
        for (; gaussian < wanted; ++gaussian) packed = read_row(packed.end());
        row.read(packed);
        at = packed.end();
        ++gaussian;
        visit(row, first, last);
        first = last;
    }
}

// The shares that all views but the row's own have given to its labels, each to a power; and where own's pairs are in it.
void share_without(Row& row, const OwnWord& own, int64_t first, int64_t last, double power,
                   std::vector<uint32_t>& place) {
    place.clear();
    uint32_t at = 0;
    for (int64_t i = first; i < last; ++i) {
        while (at < row.count && row.label[at] < static_cast<uint32_t>(own.label[i])) ++at;
        if (at == row.count || row.label[at] != static_cast<uint32_t>(own.label[i]) ||
            row.sum[at] < static_cast<uint64_t>(own.units[i]))
            throw std::invalid_argument("votes that were never added");
        row.sum[at] -= static_cast<uint64_t>(own.units[i]);
        place.push_back(at);
    }
    double total = 0.0;
    for (uint32_t k = 0; k < row.count; ++k) {
        const double units = static_cast<double>(static_cast<int64_t>(row.sum[k])) * kVoteQuantum;
        row.share[k] = power == 2.0 ? units * units : std::pow(units, power);
        total += row.share[k];
    }
    for (uint32_t k = 0; k < row.count; ++k) row.share[k] = total > 0.0 ? row.share[k] / total : 0.0;
}

}  // namespace

std::vector<int32_t> labels_of(const VoteStore& store) {
    const std::lock_guard<std::mutex> lock(store.mutex());
    std::vector<int32_t> all, of_chunk;
    Row row;
    for (int64_t chunk = 0; chunk < store.num_chunks(); ++chunk) {
        of_chunk.clear();
        const uint8_t* at = store.rows(chunk);
        for (int64_t n = store.chunk_begin(chunk); n < store.chunk_end(chunk); ++n) {
            const PackedRow packed = read_row(at);
            at = packed.end();
            row.read(packed);
            of_chunk.insert(of_chunk.end(), row.label.begin(), row.label.begin() + row.count);
            if (of_chunk.size() < (size_t{1} << 20) && n + 1 < store.chunk_end(chunk)) continue;
            std::sort(of_chunk.begin(), of_chunk.end());
            of_chunk.erase(std::unique(of_chunk.begin(), of_chunk.end()), of_chunk.end());
            std::vector<int32_t> both;
            std::set_union(all.begin(), all.end(), of_chunk.begin(), of_chunk.end(), std::back_inserter(both));
            all.swap(both);
            of_chunk.clear();
        }
    }
    return all;
}

void write_strongest(const VoteStore& store, int threads, int64_t* best) {
    const std::lock_guard<std::mutex> lock(store.mutex());
    std::vector<Row> rows(static_cast<size_t>(threads));
    parallel_for(store.num_chunks(), threads, [&](int64_t chunk, int worker) {
        Row& row = rows[static_cast<size_t>(worker)];
        const uint8_t* at = store.rows(chunk);
        for (int64_t n = store.chunk_begin(chunk); n < store.chunk_end(chunk); ++n) {
            const PackedRow packed = read_row(at);
            at = packed.end();
            row.read(packed);
            uint32_t label = 0;
            uint64_t most = 0;
            for (uint32_t k = 0; k < row.count; ++k)
                if (row.sum[k] > most) label = row.label[k], most = row.sum[k];
            best[n] = label;
        }
    });
}

void write_heard(const VoteStore& store, const std::vector<int32_t>& labels, const OwnWord& own, double power,
                 double missed, double* heard) {
    const std::lock_guard<std::mutex> lock(store.mutex());
    const Numbers numbers(labels);
    std::vector<double> shown(labels.size(), 0.0), there(labels.size(), 0.0);
    std::vector<uint32_t> place;
    visit_own_rows(store, own, [&](Row& row, int64_t first, int64_t last) {
        share_without(row, own, first, last, power, place);
        double weight = 0.0;
        for (int64_t i = first; i < last; ++i) {
            const uint32_t k = place[static_cast<size_t>(i - first)];
            shown[numbers.of(row.label[k])] += own.weight[i] * row.share[k];
            weight += own.weight[i];
        }
        for (uint32_t k = 0; k < row.count; ++k) there[numbers.of(row.label[k])] += row.share[k] * weight;
    });
    std::vector<uint8_t> lost(labels.size());
    for (size_t l = 0; l < labels.size(); ++l) lost[l] = labels[l] > 0 && shown[l] < missed * there[l];
    visit_own_rows(store, own, [&](Row& row, int64_t first, int64_t last) {
        share_without(row, own, first, last, power, place);
        double blamed = 0.0;
        for (uint32_t k = 0; k < row.count; ++k) blamed += lost[numbers.of(row.label[k])] ? row.share[k] : 0.0;
        for (int64_t i = first; i < last; ++i) {
            const uint32_t k = place[static_cast<size_t>(i - first)];
            const double own_part = lost[numbers.of(row.label[k])] ? row.share[k] : 0.0;
            heard[i] = std::clamp(1.0 - (blamed - own_part), 0.0, 1.0);
        }
    });
}

}  // namespace panoptic_gs
