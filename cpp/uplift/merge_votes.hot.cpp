// SPDX-License-Identifier: Apache-2.0
// Adds the votes of a view to the rows of consecutive Gaussians: the votes of a Gaussian's tiles are rounded to
// integers, sorted and added up by label, and added to its row.
#include <cstring>

#include "core/simd.h"
#include "core/view.h"
#include "uplift/packed_rows.h"
#include "uplift/traversals.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int64_t kGroup = 256;        // Gaussians whose entries and runs are fetched together
constexpr int kAhead = 12;             // Gaussians whose votes are fetched before they are added up
constexpr uint32_t kFetched = 8;       // entries of a Gaussian that are
constexpr uint32_t kMostRanked = 128;  // votes that are sorted by counting the smaller labels of each

struct Seen {
    int64_t gaussian;
    const uint32_t* entries;
    uint32_t count;  // of entries
    uint32_t runs;   // of them, with votes
    int64_t votes;
};

// A weight, given by its bits, as an integer.
PGS_INLINE uint64_t units(uint32_t weight_bits) {
    float weight;
    std::memcpy(&weight, &weight_bits, sizeof weight);
    return static_cast<uint64_t>(static_cast<int64_t>(static_cast<double>(weight) * kVoteScale + 0.5));
}

// What belongs to a Gaussian lies all over memory: entries, then runs, then votes are fetched ahead of their use.
PGS_INLINE int find_seen(const View& view, const ViewVotes& votes, int64_t begin, int64_t end, Seen* seen) {
    int count = 0;
    for (int64_t n = begin; n < end; ++n) {
        const int32_t rank = view.rank_of[static_cast<size_t>(n)];
        const auto at = static_cast<size_t>(rank < 0 ? 0 : rank);
        const uint32_t first = view.rank_offsets[at];
        seen[count] = {n, view.rank_entries.data() + first, view.rank_offsets[at + 1] - first, 0, 0};
        __builtin_prefetch(seen[count].entries);
        count += rank >= 0;
    }
    for (int i = 0; i < count; ++i)
        for (uint32_t e = 0; e < seen[i].count && e < kFetched; ++e) __builtin_prefetch(votes.runs + seen[i].entries[e]);
    return count;
}

PGS_INLINE void count_votes(const ViewVotes& votes, Seen& seen) {
    for (uint32_t e = 0; e < seen.count; ++e) {
        const ViewVotes::Run run = votes.runs[seen.entries[e]];
        seen.votes += run.count;
        seen.runs += run.count != 0;
        if (e >= kFetched) continue;
        const uint32_t* label = votes.labels_of(run);
        __builtin_prefetch(label);
        __builtin_prefetch(label + 2 * run.count);
    }
}

// The functions below leave a Gaussian's sums of this view, by label, in sorted_label and sorted_sum; they return the
// number of labels, and in `all` all bits of the sums.

// Few votes: those of one label meet at the rank of their label, and what stays empty is closed up.
PGS_INLINE uint32_t rank_votes(const ViewVotes& votes, const Seen& seen, RowBuilder& b, uint64_t& all) {
    auto* label = reinterpret_cast<int32_t*>(b.label);
    auto* weight = reinterpret_cast<int32_t*>(b.place);
    uint32_t count = 0;
    for (uint32_t e = 0; e < seen.count; ++e) {
        const ViewVotes::Run run = votes.runs[seen.entries[e]];
        const auto* from = reinterpret_cast<const int32_t*>(votes.labels_of(run));
        for (uint32_t i = 0; i < run.count; i += kLanes) {
            store(label + count + i, load(from + i));
            store(weight + count + i, load(from + run.count + i));
        }
        count += run.count;
    }
    store(label + count, splat_int(INT32_MAX));
    for (uint32_t i = 0; i < count; ++i) b.sorted_sum[i] = 0;
    for (uint32_t first = 0; first < count; first += kLanes) {
        const Int below = load(label + first) - 1;
        Int rank = splat_int(0);
        for (uint32_t i = 0; i < count; ++i) rank = select(less_equal(splat_int(label[i]), below), rank + 1, rank);
        int32_t to[kLanes];
        store(to, rank);
        const uint32_t lanes = count - first < kLanes ? count - first : kLanes;
        for (uint32_t lane = 0; lane < lanes; ++lane) {
            b.sorted_label[to[lane]] = b.label[first + lane];
            b.sorted_sum[to[lane]] += units(b.place[first + lane]);
        }
    }
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; ++i) {
        const uint64_t sum = b.sorted_sum[i];
        b.sorted_label[found] = b.sorted_label[i];
        b.sorted_sum[found] = sum;
        all |= sum;
        found += sum != 0;
    }
    return found;
}

PGS_INLINE uint32_t tabulate_votes(const ViewVotes& votes, const Seen& seen, RowBuilder& b, uint64_t& all) {
    uint32_t bits = 8;
    while (int64_t{1} << bits < 2 * seen.votes) ++bits;
    const uint32_t last_place = (1u << bits) - 1, shift = 32 - bits;
    uint32_t found = 0;
    for (uint32_t e = 0; e < seen.count; ++e) {
        if (e + 4 < seen.count) __builtin_prefetch(votes.labels_of(votes.runs[seen.entries[e + 4]]));
        const ViewVotes::Run run = votes.runs[seen.entries[e]];
        const uint32_t* label = votes.labels_of(run);
        for (uint32_t i = 0; i < run.count; ++i) {
            const uint32_t here = label[i];
            uint32_t at = (here * 2654435769u) >> shift, index = b.table[at];
            while (__builtin_expect((index < found) & (b.place[index] == at) & (b.label[index] != here), 0)) {
                at = (at + 1) & last_place;
                index = b.table[at];
            }
            const bool known = (index < found) & (b.place[index] == at);
            index = known ? index : found;
            const uint64_t before = b.sum[index] & (known ? ~uint64_t{0} : 0);
            b.table[at] = index;
            b.place[index] = at;
            b.label[index] = here;
            b.sum[index] = before + units(label[run.count + i]);
            found += known ? 0 : 1;
        }
    }
    b.sort_pairs(found);
    for (uint32_t i = 0; i < found; ++i) all |= b.sum[i];
    return found;
}

PGS_INLINE void copy_rows(RowBuilder& b, const uint8_t* from, const uint8_t* to) {
    if (from == to) return;
    b.reserve_bytes(to - from);
    std::memcpy(b.bytes + b.used, from, static_cast<size_t>(to - from));
    b.used += to - from;
}

}  // namespace

bool merge_votes(const View& view, const ViewVotes& votes, const uint8_t* rows, int64_t begin, int64_t end,
                 RowBuilder& b) {
    b.used = 0;
    bool changed = false;
    const uint8_t* unchanged = rows;  // up to the row at hand
    int64_t next = begin;             // the Gaussian of the row at `rows`
    Seen seen[kGroup + 1];
    for (int64_t group = begin; group < end; group += kGroup) {
        const int count = find_seen(view, votes, group, group + kGroup < end ? group + kGroup : end, seen);
        for (int i = 0; i < count && i < kAhead; ++i) count_votes(votes, seen[i]);
        for (int i = 0; i < count; ++i) {
            if (i + kAhead < count) count_votes(votes, seen[i + kAhead]);
            const Seen& own = seen[i];
            if (own.votes == 0) continue;
            for (; next < own.gaussian; ++next) rows = read_row(rows).end();
            copy_rows(b, unchanged, rows);
            const PackedRow held = read_row(rows);
            unchanged = rows = held.end();
            ++next;
            changed = true;
            if (own.votes + held.count > b.capacity) b.reserve_pairs(own.votes + held.count);
            uint64_t all = 0;
            uint32_t found = own.votes <= kMostRanked ? rank_votes(votes, own, b, all) : tabulate_votes(votes, own, b, all);
            b.reserve_bytes(packed_bound(held.count + found));
            const uint32_t *label = b.sorted_label;
            const uint64_t *sum = b.sorted_sum;
            b.void_pairs += label[0] == 0;
            if (held.count != 0) {
                b.void_pairs -= (label[0] == 0) & (PairReader(held).label() == 0);
                found = add_rows(held, label, sum, found, b.total_label, b.total_sum, all);
                label = b.total_label;
                sum = b.total_sum;
                b.overflow |= all >> 63 != 0;
            }
            b.pairs += found - held.count;
            b.used = write_row(b.bytes + b.used, label, sum, found, all) - b.bytes;
        }
    }
    if (!changed) return false;
    for (; next < end; ++next) rows = read_row(rows).end();
    copy_rows(b, unchanged, rows);
    return true;
}

}  // namespace panoptic_gs::PGS_ISA
