// SPDX-License-Identifier: Apache-2.0
// Adds the votes of a view to the rows of consecutive Gaussians: the votes of a Gaussian's tiles are rounded to integers
// and added to the pairs of their labels. Rows are sorted only when they are read out.
#include <cstring>

#include "core/gaussian_math.h"
#include "core/simd.h"
#include "uplift/packed_rows.h"
#include "uplift/traversals.h"

#define PGS_MEMBER inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr uint32_t kMostRanked = 128;   // pairs that are sorted by counting the smaller labels of each

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
                RowBuilder::Runs& own = b.runs_of[run[0] - static_cast<uint32_t>(begin)];
                b.runs[count] = {run, own.first};
                own.first = count++;
                own.votes += run[VotePage::kHalf];
            }
        }
    }
    return true;
}

// A row that votes are added to: b.label and b.sum, and what is known of all of them. Gathered on the way, since a vector
// that is read just after its parts were written stalls.
struct OpenRow {
    uint32_t count = 0;
    uint32_t labels = 0;  // all their bits
    uint64_t sums = 0;
    uint32_t voids = 0;   // labels 0

    PGS_MEMBER void put(RowBuilder& b, uint32_t at, uint32_t label, uint64_t sum) {
        b.label[at] = label;
        b.sum[at] = sum;
        labels |= label;
        sums |= sum;
        voids += (at == count) & (label == 0);
        count += at == count;
    }
};

// The votes of a row's first run, whose labels differ from one another.
PGS_INLINE void copy_run(const uint32_t* run, RowBuilder& b, OpenRow& row) {
    const uint32_t* own = run + 1;
    const auto* weight = reinterpret_cast<const float*>(own + VotePage::kHalf);
    row.count = run[VotePage::kHalf];
    for (uint32_t first = 0; first < row.count; first += kLanes) {
        std::memcpy(b.label + first, own + first, sizeof(Int));
        store_units(load(weight + first), b.sum + first);
    }
    for (uint32_t i = 0; i < row.count; ++i) {
        row.labels |= own[i];
        row.sums |= b.sum[i];
        row.voids += own[i] == 0;
    }
}

// Adds the votes of runs while kKnown vectors hold the row's labels: a run's labels differ from one another, so they are
// looked for among those of the row before it. Returns the run at which the row has become longer.
template <int kKnown>
PGS_INLINE uint32_t add_runs(uint32_t run, RowBuilder& b, OpenRow& row) {
    const auto* label = reinterpret_cast<const int32_t*>(b.label);
    Int known[kKnown] = {};
    uint32_t num_known = 0;  // so far none, as the row is not empty
    for (; run != RowBuilder::kNoRun && row.count <= kKnown * kLanes; run = b.runs[run].next) {
        if (row.count != num_known) {
            num_known = row.count;
            for (int i = 0; i < kKnown; ++i)
                known[i] = select(first_lanes(static_cast<int>(num_known) - i * kLanes), load(label + i * kLanes), splat_int(-1));
        }
        const uint32_t* own = b.runs[run].words + 1;
        const auto* weight = reinterpret_cast<const float*>(own + VotePage::kHalf);
        const uint32_t votes = own[VotePage::kHalf - 1];
        for (uint32_t first = 0; first < votes; first += kLanes) {
            const uint32_t lanes = votes - first < kLanes ? votes - first : kLanes;
            uint64_t units_of[kLanes];
            store_units(load(weight + first), units_of);
            for (uint32_t lane = 0; lane < lanes; ++lane) {
                const uint32_t one = own[first + lane];
                uint64_t same = 0;
                for (int i = 0; i < kKnown; ++i)
                    same |= static_cast<uint64_t>(bits(equal(known[i], splat_int(static_cast<int32_t>(one))))) << (i * kLanes);
                const uint32_t at = same != 0 ? static_cast<uint32_t>(__builtin_ctzll(same)) : row.count;
                const uint64_t before = same != 0 ? b.sum[at] : 0;
                row.put(b, at, one, before + units_of[lane]);
            }
        }
    }
    return run;
}

// Adds the votes of this run and the ones that follow, through a table.
PGS_INLINE void tabulate_runs(uint32_t run, int64_t most, RowBuilder& b, OpenRow& row) {
    uint32_t bits = 8;
    while (int64_t{1} << bits < 2 * most) ++bits;
    const uint32_t last_place = (1u << bits) - 1, shift = 32 - bits;
    uint32_t found = 0;
    // The index of a label, `found` if it is new; b.place has its place then.
    const auto index_of = [&](uint32_t own) __attribute__((always_inline)) {
        uint32_t at = (own * 2654435769u) >> shift, index = b.table[at];
        while (__builtin_expect((index < found) & (b.place[index] == at) & (b.label[index] != own), 0)) {
            at = (at + 1) & last_place;
            index = b.table[at];
        }
        const bool known = (index < found) & (b.place[index] == at);
        index = known ? index : found;
        b.table[at] = index;
        b.place[index] = at;
        return index;
    };
    for (; found < row.count; ++found) index_of(b.label[found]);
    for (; run != RowBuilder::kNoRun; run = b.runs[run].next) {
        const uint32_t votes = b.runs[run].words[VotePage::kHalf];
        const uint32_t* label = b.runs[run].words + 1;
        const auto* weight = reinterpret_cast<const float*>(label + VotePage::kHalf);
        for (uint32_t i = 0; i < votes; ++i) {
            const uint32_t index = index_of(label[i]);
            const uint64_t before = index < found ? b.sum[index] : 0;
            row.put(b, index, label[i], before + units(weight[i]));
            found = row.count;
        }
    }
}

// `most`: at most so many pairs.
PGS_INLINE void add_votes(uint32_t run, int64_t most, RowBuilder& b, OpenRow& row) {
    if (row.count == 0) {
        copy_run(b.runs[run].words, b, row);
        run = b.runs[run].next;
    }
    if (row.count <= kLanes) run = add_runs<1>(run, b, row);
    if (row.count <= 2 * kLanes) run = add_runs<2>(run, b, row);
    if (row.count <= 4 * kLanes) run = add_runs<4>(run, b, row);
    if (run != RowBuilder::kNoRun) tabulate_runs(run, most, b, row);
}

PGS_INLINE void copy_rows(RowBuilder& b, const uint8_t* from, const uint8_t* to) {
    if (from == to) return;
    b.reserve_bytes(to - from);
    std::memcpy(b.bytes + b.used, from, static_cast<size_t>(to - from));
    b.used += to - from;
}

// Writes the pairs of b.label and b.sum by ascending label.
PGS_INLINE void sort_pairs(RowBuilder& b, uint32_t count, uint32_t* sorted_label, uint64_t* sorted_sum) {
    if (count > kMostRanked) {
        b.sort_pairs(count, sorted_label, sorted_sum);
        return;
    }
    const auto* label = reinterpret_cast<const int32_t*>(b.label);
    for (uint32_t first = 0; first < count; first += kLanes) {
        const Int below = load(label + first) - 1;
        Int rank = splat_int(0);
        for (uint32_t i = 0; i < count; ++i) rank = select(less_equal(splat_int(label[i]), below), rank + 1, rank);
        int32_t to[kLanes];
        store(to, rank);
        const uint32_t lanes = count - first < kLanes ? count - first : kLanes;
        for (uint32_t lane = 0; lane < lanes; ++lane) {
            sorted_label[to[lane]] = b.label[first + lane];
            sorted_sum[to[lane]] = b.sum[first + lane];
        }
    }
}

}  // namespace

bool merge_votes(const ViewVotes& votes, int64_t chunk, const uint8_t* rows, int64_t begin, int64_t end,
                 RowBuilder& b) {
    b.used = 0;
    if (!chain_runs(votes, chunk, begin, end, b)) return false;
    const uint8_t* unchanged = rows;  // up to the row at hand
    for (int64_t n = begin; n < end; ++n) {
        const PackedRow held = read_row(rows);
        const RowBuilder::Runs own = b.runs_of[n - begin];
        if (own.first == RowBuilder::kNoRun) {
            rows = held.end();
            continue;
        }
        copy_rows(b, unchanged, rows);
        unchanged = rows = held.end();
        const int64_t most = static_cast<int64_t>(own.votes) + held.count;
        if (most > b.capacity) b.reserve_pairs(most);
        OpenRow row;
        PairReader pair(held);
        for (uint32_t i = 0; i < held.count; ++i, pair.next()) row.put(b, i, pair.label(), pair.sum());
        const uint32_t had_voids = row.voids;
        add_votes(own.first, most, b, row);
        b.void_pairs += row.voids - had_voids;
        b.overflow |= row.sums >> 63 != 0;
        b.pairs += row.count - held.count;
        b.reserve_bytes(packed_bound(row.count));
        b.used = write_row(b.bytes + b.used, b.label, b.sum, row.count, row.labels, row.sums) - b.bytes;
    }
    copy_rows(b, unchanged, rows);
    return true;
}

void sort_rows(const uint8_t* rows, int64_t gaussians, RowBuilder& b) {
    uint32_t* sorted_label = b.sorted_label;
    uint64_t* sorted_sum = b.sorted_sum;
    for (int64_t n = 0; n < gaussians; ++n) {
        const PackedRow packed = read_row(rows);
        rows = packed.end();
        if (packed.count > 1) {
            unpack_row(packed, b.label, b.sum);
            sort_pairs(b, packed.count, sorted_label, sorted_sum);
        } else {
            unpack_row(packed, sorted_label, sorted_sum);
        }
        sorted_label += packed.count;
        sorted_sum += packed.count;
    }
}

}  // namespace panoptic_gs::PGS_ISA
