// SPDX-License-Identifier: Apache-2.0
// Adds the votes of a view to the rows of consecutive Gaussians: the votes of a Gaussian's tiles are rounded to
// integers, sorted and added up by label, and added to its row.
#include <cstring>

#include "core/simd.h"
#include "uplift/packed_rows.h"
#include "uplift/traversals.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr uint32_t kMostRanked = 128;  // votes that are sorted by counting the smaller labels of each

// A weight as an integer.
PGS_INLINE uint64_t units(float weight) {
    return static_cast<uint64_t>(static_cast<int64_t>(static_cast<double>(weight) * kVoteScale + 0.5));
}

PGS_INLINE void store_units(Float weight, uint64_t* out) {
#if defined(__AVX512F__)  // the product is exact, so fusing the sum rounds alike
    const __m512d scale = _mm512_set1_pd(kVoteScale), half = _mm512_set1_pd(0.5);
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(weight));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(weight, 1));
    _mm512_storeu_si512(out, _mm512_cvttpd_epi64(_mm512_fmadd_pd(low, scale, half)));
    _mm512_storeu_si512(out + 8, _mm512_cvttpd_epi64(_mm512_fmadd_pd(high, scale, half)));
#else
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = units(weight[lane]);
#endif
}

// Chains the runs of each Gaussian of a chunk. False if there are none.
PGS_INLINE bool chain_runs(const ViewVotes& votes, int64_t chunk, int64_t begin, int64_t end, RowBuilder& b) {
    int64_t runs = 0;
    for (int i = 0; i < votes.threads; ++i) runs += votes.writers[i].streams[chunk].runs;
    if (runs == 0) return false;
    b.reserve_runs(end - begin, runs);
    uint32_t count = 0;
    for (int i = 0; i < votes.threads; ++i) {
        const VoteStream& stream = votes.writers[i].streams[chunk];
        for (const VotePage* page = stream.page; page != nullptr; page = page->previous) {
            const uint32_t* last = page->words + stream.used(page);
            for (const uint32_t* line = page->words; line < last; line += 16) {
                __builtin_prefetch(line);
                __builtin_prefetch(line + VotePage::kHalf);
            }
            for (const uint32_t* run = page->words; run != last; run += 1 + run[VotePage::kHalf]) {
                uint32_t& first = b.first_run[run[0] - static_cast<uint32_t>(begin)];
                b.runs[count] = {run, first};
                first = count++;
            }
        }
    }
    return true;
}

// The functions below leave a Gaussian's sums of this view, by label, in sorted_label and sorted_sum; they return the
// number of labels, and in `all` all bits of the sums.

// Few votes: those of one label meet at the rank of their label, and what stays empty is closed up.
PGS_INLINE uint32_t rank_votes(uint32_t run, RowBuilder& b, uint64_t& all) {
    auto* label = reinterpret_cast<int32_t*>(b.label);
    uint32_t count = 0;
    for (; run != RowBuilder::kNoRun; run = b.runs[run].next) {
        const auto* from = reinterpret_cast<const int32_t*>(b.runs[run].words);
        const auto more = static_cast<uint32_t>(from[VotePage::kHalf]);
        ++from;
        for (uint32_t i = 0; i < more; i += kLanes) {
            store(label + count + i, load(from + i));
            store_units(float_of(load(from + VotePage::kHalf + i)), b.sum + count + i);
        }
        count += more;
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
            b.sorted_sum[to[lane]] += b.sum[first + lane];
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

PGS_INLINE uint32_t tabulate_votes(uint32_t run, int64_t count, RowBuilder& b, uint64_t& all) {
    uint32_t bits = 8;
    while (int64_t{1} << bits < 2 * count) ++bits;
    const uint32_t last_place = (1u << bits) - 1, shift = 32 - bits;
    uint32_t found = 0;
    for (; run != RowBuilder::kNoRun; run = b.runs[run].next) {
        const uint32_t more = b.runs[run].words[VotePage::kHalf];
        const uint32_t* label = b.runs[run].words + 1;
        const auto* weight = reinterpret_cast<const float*>(label + VotePage::kHalf);
        for (uint32_t i = 0; i < more; ++i) {
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
            b.sum[index] = before + units(weight[i]);
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

bool merge_votes(const ViewVotes& votes, int64_t chunk, const uint8_t* rows, int64_t begin, int64_t end,
                 RowBuilder& b) {
    b.used = 0;
    if (!chain_runs(votes, chunk, begin, end, b)) return false;
    const uint8_t* unchanged = rows;  // up to the row at hand
    for (int64_t n = begin; n < end; ++n) {
        const PackedRow held = read_row(rows);
        const uint32_t run = b.first_run[n - begin];
        if (run == RowBuilder::kNoRun) {
            rows = held.end();
            continue;
        }
        copy_rows(b, unchanged, rows);
        unchanged = rows = held.end();
        int64_t count = 0;
        for (uint32_t i = run; i != RowBuilder::kNoRun; i = b.runs[i].next) count += b.runs[i].words[VotePage::kHalf];
        if (count + held.count > b.capacity) b.reserve_pairs(count + held.count);
        uint64_t all = 0;
        uint32_t found = count <= kMostRanked ? rank_votes(run, b, all) : tabulate_votes(run, count, b, all);
        b.reserve_bytes(packed_bound(held.count + found));
        const uint32_t* label = b.sorted_label;
        const uint64_t* sum = b.sorted_sum;
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
    copy_rows(b, unchanged, rows);
    return true;
}

}  // namespace panoptic_gs::PGS_ISA
