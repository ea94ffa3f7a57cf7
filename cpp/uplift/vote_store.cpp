// SPDX-License-Identifier: Apache-2.0
#include "uplift/vote_store.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "core/thread_pool.h"
#include "uplift/packed_rows.h"
#include "uplift/traversals.h"

namespace panoptic_gs {

namespace {

constexpr int64_t kMaxChunks = 256;

[[noreturn]] void refuse_overflow() {
    throw std::overflow_error("the votes of a Gaussian for one label exceed 2^29 pixels of full weight");
}

}  // namespace

void RowBuilder::reserve_bytes(int64_t more) {
    if (rows.used + more <= rows.room) return;
    Buffer<uint8_t> larger(static_cast<size_t>(std::max(rows.used + more, 2 * rows.room)));
    if (rows.used > 0) std::memcpy(larger.data(), rows.bytes, static_cast<size_t>(rows.used));
    byte_memory_ = std::move(larger);
    rows.bytes = byte_memory_.data();
    rows.room = static_cast<int64_t>(byte_memory_.size());
}

void RowBuilder::append(const uint8_t* first, const uint8_t* last) {
    const int64_t bytes = last - first;
    reserve_bytes(bytes + kRowSlack);
    if (bytes > 0) std::memcpy(rows.bytes + rows.used, first, static_cast<size_t>(bytes));
    rows.used += bytes;
}

void RowBuilder::reserve_pairs(int64_t count) {
    constexpr int64_t kPadding = 128;  // vectors are read and written whole
    if (count <= row.capacity) return;
    row.capacity = std::max<int64_t>(count, 2 * row.capacity);
    for (table.places = 256; table.places < 2 * row.capacity;) table.places *= 2;
    const int64_t padded = (row.capacity / kPadding + 2) * kPadding;
    pair_memory_.allocate(static_cast<size_t>(padded * (4 + 8) * 2 + padded * (4 + 2) + table.places * 4));
    uint8_t* at = pair_memory_.data();
    const auto take = [&at](auto*& array, int64_t elements) {
        array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
        at += elements * static_cast<int64_t>(sizeof *array);
    };
    take(row.sum, padded);
    take(sorted.sum, padded);
    take(row.label, padded);
    take(sorted.label, padded);
    take(table.place, padded);
    take(table.index, table.places);
    take(row.narrow_label, padded);
    std::memset(table.index, 0, static_cast<size_t>(table.places) * sizeof *table.index);
}

void RowBuilder::sort_pairs(int64_t count, uint32_t* to_label, uint64_t* to_sum) {
    uint32_t* order = table.place;  // not needed meanwhile
    std::iota(order, order + count, 0u);
    std::sort(order, order + count, [this](uint32_t a, uint32_t b) { return row.label[a] < row.label[b]; });
    for (int64_t i = 0; i < count; ++i) {
        to_label[i] = row.label[order[i]];
        to_sum[i] = row.sum[order[i]];
    }
}

void RowBuilder::reserve_runs(int64_t gaussians, int64_t count) {
    if (static_cast<int64_t>(runs_of_memory_.size()) < gaussians)
        runs_of_memory_.allocate(static_cast<size_t>(gaussians));
    if (static_cast<int64_t>(run_memory_.size()) < count) run_memory_.allocate(static_cast<size_t>(2 * count));
    runs.of_gaussian = runs_of_memory_.data();
    runs.all = run_memory_.data();
    std::fill_n(runs.of_gaussian, gaussians, Runs{kNoRun, 0});
}

VoteStore::VoteStore(int64_t num_gaussians) : num_gaussians_(num_gaussians) {
    if (num_gaussians < 0 || num_gaussians > INT32_MAX) throw std::invalid_argument("number of Gaussians out of range");
    while (kMaxChunks << chunk_shift_ < num_gaussians) ++chunk_shift_;
    const int64_t rows = int64_t{1} << chunk_shift_;
    chunks_.resize(static_cast<size_t>((num_gaussians + rows - 1) / rows));
    empty_rows_.assign(static_cast<size_t>(std::min(rows, num_gaussians) + kRowSlack), 0);
}

int64_t VoteStore::chunk_end(int64_t chunk) const { return std::min(num_gaussians_, chunk_begin(chunk + 1)); }

const uint8_t* VoteStore::rows(int64_t index) const {
    const Chunk& held = chunk(index);
    return held.bytes.size() > 0 ? held.bytes.data() : empty_rows_.data();
}

size_t VoteStore::bytes() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    size_t bytes = chunks_.size() * sizeof(Chunk) + empty_rows_.size();
    for (const Chunk& chunk : chunks_) bytes += chunk.bytes.capacity();
    return bytes;
}

int64_t VoteStore::num_pairs(bool void_too) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    int64_t pairs = 0;
    for (const Chunk& chunk : chunks_) pairs += chunk.pairs - (void_too ? 0 : chunk.void_pairs);
    return pairs;
}

void VoteStore::replace(int64_t index, RowBuilder& builder) {
    if (builder.rows.overflow) refuse_overflow();
    Chunk& chunk = chunks_[static_cast<size_t>(index)];
    const auto size = static_cast<size_t>(builder.rows.used);
    chunk.bytes.resize(size + kRowSlack);
    std::memcpy(chunk.bytes.data(), builder.rows.bytes, size);
    std::memset(chunk.bytes.data() + size, 0, kRowSlack);
    chunk.pairs = builder.rows.pairs;
    chunk.void_pairs = builder.rows.void_pairs;
}

void VoteStore::add(const int64_t* gaussian, const int32_t* label, const int64_t* sum, int64_t count) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The pairs of each chunk.
    std::vector<int64_t> ends(chunks_.size() + 1, 0);
    for (int64_t i = 0; i < count; ++i) ++ends[static_cast<size_t>(gaussian[i] >> chunk_shift_) + 1];
    std::partial_sum(ends.begin(), ends.end(), ends.begin());
    std::vector<int64_t> order(static_cast<size_t>(count)), next(ends);
    for (int64_t i = 0; i < count; ++i)
        order[static_cast<size_t>(next[static_cast<size_t>(gaussian[i] >> chunk_shift_)]++)] = i;
    RowBuilder builder;
    std::vector<std::pair<uint32_t, uint64_t>> row;
    for (int64_t index = 0; index < num_chunks(); ++index) {
        const auto begin = order.begin() + ends[static_cast<size_t>(index)];
        const auto end = order.begin() + ends[static_cast<size_t>(index) + 1];
        if (begin == end) continue;
        const auto earlier = [&](int64_t a, int64_t b) { return gaussian[a] < gaussian[b]; };
        if (!std::is_sorted(begin, end, earlier)) std::sort(begin, end, earlier);
        builder.rows.used = 0;
        builder.rows.pairs = chunk(index).pairs;
        builder.rows.void_pairs = chunk(index).void_pairs;
        const uint8_t *rows_held = rows(index), *copied = rows_held;  // rows before it are in the builder
        auto at = begin;
        for (int64_t n = chunk_begin(index); n < chunk_end(index); ++n) {
            const uint8_t* const row_held = rows_held;
            const PackedRow held = read_row(rows_held);
            rows_held = held.end();
            if (at == end || gaussian[*at] != n) continue;  // it stays as it is
            builder.append(copied, row_held);
            copied = rows_held;
            row.resize(held.count);
            builder.reserve_pairs(held.count);
            unpack_row(held, builder.row.label, builder.row.sum);
            for (uint32_t i = 0; i < held.count; ++i) {
                row[i] = {builder.row.label[i], builder.row.sum[i]};
                builder.rows.void_pairs -= builder.row.label[i] == 0;
            }
            for (; at != end && gaussian[*at] == n; ++at)
                row.emplace_back(static_cast<uint32_t>(label[*at]), static_cast<uint64_t>(sum[*at]));
            std::sort(row.begin(), row.end());
            builder.reserve_pairs(static_cast<int64_t>(row.size()));
            uint32_t found = 0, labels = 0;
            uint64_t sums = 0;
            for (const auto& [own, units] : row) {
                if (units == 0) continue;
                const bool again = found > 0 && builder.row.label[found - 1] == own;
                found += again ? 0 : 1;
                builder.row.label[found - 1] = own;
                builder.row.sum[found - 1] = units + (again ? builder.row.sum[found - 1] : 0);
                labels |= own;
                sums |= builder.row.sum[found - 1];
                builder.rows.overflow |= sums >> 63 != 0;
            }
            builder.reserve_bytes(packed_bound(found));
            builder.rows.used = write_row(builder.rows.bytes + builder.rows.used, builder.row.label, builder.row.sum,
                                          found, labels, sums) -
                                builder.rows.bytes;
            builder.rows.pairs += static_cast<int64_t>(found) - held.count;
            builder.rows.void_pairs += found > 0 && builder.row.label[0] == 0;
        }
        builder.append(copied, rows_held);
        replace(index, builder);
    }
}

template <class Visit>
void VoteStore::visit_rows(int64_t count, bool void_too, int threads, int64_t* indptr, Visit&& visit) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<int64_t> firsts(chunks_.size() + 1, 0);
    for (size_t i = 0; i < chunks_.size(); ++i)
        firsts[i + 1] = firsts[i] + chunks_[i].pairs - (void_too ? 0 : chunks_[i].void_pairs);
    if (firsts.back() != count) throw std::runtime_error("votes were added while they were read out");
    indptr[0] = 0;
    std::vector<RowBuilder> builders(static_cast<size_t>(threads));
    parallel_for(num_chunks(), threads, [&](int64_t index, int worker) {
        RowBuilder& builder = builders[static_cast<size_t>(worker)];
        builder.reserve_pairs(chunk(index).pairs);
        const uint8_t* at = rows(index);
        PGS_DISPATCH(sort_rows, at, chunk_end(index) - chunk_begin(index), builder);
        int64_t entry = firsts[static_cast<size_t>(index)];
        uint32_t sorted = 0;
        for (int64_t gaussian = chunk_begin(index); gaussian < chunk_end(index); ++gaussian) {
            const PackedRow row = read_row(at);
            at = row.end();
            entry = visit(gaussian, builder.sorted.label + sorted, builder.sorted.sum + sorted, row.count, entry);
            sorted += row.count;
            indptr[gaussian + 1] = entry;
        }
    });
}

void VoteStore::write_chunk(int64_t index, int64_t* key, int64_t* sum) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    RowBuilder builder;
    builder.reserve_pairs(chunk(index).pairs);
    const uint8_t* at = rows(index);
    PGS_DISPATCH(sort_rows, at, chunk_end(index) - chunk_begin(index), builder);
    int64_t entry = 0;
    for (int64_t gaussian = chunk_begin(index); gaussian < chunk_end(index); ++gaussian) {
        const PackedRow row = read_row(at);
        at = row.end();
        for (uint32_t i = 0; i < row.count; ++i, ++entry) {
            key[entry] = gaussian << 32 | builder.sorted.label[entry];
            sum[entry] = static_cast<int64_t>(builder.sorted.sum[entry]);
        }
    }
}

void VoteStore::write_sums(int64_t count, int threads, int64_t* indptr, int32_t* label, int64_t* sum) const {
    visit_rows(count, true, threads, indptr,
               [&](int64_t, const uint32_t* own_label, const uint64_t* own_sum, uint32_t pairs, int64_t entry) {
                   for (uint32_t i = 0; i < pairs; ++i) {
                       label[entry + i] = static_cast<int32_t>(own_label[i]);
                       sum[entry + i] = static_cast<int64_t>(own_sum[i]);
                   }
                   return entry + pairs;
               });
}

void VoteStore::write_shares(int64_t count, bool void_too, int threads, int64_t* indptr, int32_t* label, float* weight,
                             float* total, float* void_weight) const {
    visit_rows(
        count, void_too, threads, indptr,
        [&](int64_t gaussian, const uint32_t* own_label, const uint64_t* own_sum, uint32_t pairs, int64_t entry) {
            const auto number = [](uint64_t units) { return static_cast<double>(static_cast<int64_t>(units)); };
            double all = 0.0;
            for (uint32_t i = 0; i < pairs; ++i) all += number(own_sum[i]);
            const bool has_void = pairs > 0 && own_label[0] == 0;
            const double of_void = has_void ? number(own_sum[0]) : 0.0;
            total[gaussian] = static_cast<float>(all * kVoteQuantum);
            void_weight[gaussian] = static_cast<float>(of_void * kVoteQuantum);
            const bool skip = has_void && !void_too;
            const double normaliser = skip ? all - of_void : all;
            for (uint32_t i = skip; i < pairs; ++i, ++entry) {
                label[entry] = static_cast<int32_t>(own_label[i]);
                weight[entry] = static_cast<float>(number(own_sum[i]) / normaliser);
            }
            return entry;
        });
}

}  // namespace panoptic_gs
