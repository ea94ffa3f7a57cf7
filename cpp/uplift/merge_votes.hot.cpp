// SPDX-License-Identifier: Apache-2.0
// Adds the votes of a view to the rows of consecutive Gaussians: the votes of a Gaussian's tiles are rounded to integers
// and added to the pairs of their labels. Rows are sorted only when they are read out.
#include <cstring>

#include "core/gaussian_math.h"
#include "core/simd.h"
#include "uplift/label_vectors.h"
#include "uplift/packed_rows.h"
#include "uplift/traversals.h"

#define PGS_MEMBER inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr uint32_t kMostRanked = 128;  // pairs that are sorted by counting the smaller labels of each

// A weight as an integer.
PGS_INLINE uint64_t units(float weight) {
    return static_cast<uint64_t>(static_cast<int64_t>(static_cast<double>(weight) * kVoteScale + 0.5));
}

#if defined(__AVX512F__)
PGS_INLINE __m512i units(__m256 weight) {  // the product is exact, so fusing the sum rounds alike
    return _mm512_cvttpd_epi64(_mm512_fmadd_pd(_mm512_cvtps_pd(weight), _mm512_set1_pd(kVoteScale), _mm512_set1_pd(0.5)));
}
#endif

PGS_INLINE uint32_t num_votes(const RowBuilder::Run& run) { return run.votes & ~VotePage::kWide; }

// Chains the runs of each Gaussian of a chunk. False if there are none.
PGS_INLINE bool chain_runs(const ViewVotes& votes, int64_t chunk, int64_t begin, int64_t end, RowBuilder& b) {
    int64_t runs = 0;
    for (int i = 0; i < votes.threads; ++i) runs += votes.writers[i].streams[chunk].runs;
    if (runs == 0) return false;
    b.reserve_runs(end - begin, runs);
    uint32_t count = 0, all_bits = 0;
    for (int i = 0; i < votes.threads; ++i) {
        const VoteStream& stream = votes.writers[i].streams[chunk];
        for (const VotePage* page = stream.page; page != nullptr; page = page->previous) {
            const uint32_t used = stream.used(page);
            for (uint32_t at = 0; at != used;) {
                RowBuilder::Runs& own = b.runs_of[page->weights[at]];
                const uint16_t bits = page->labels[at];
                const RowBuilder::Run run{page, static_cast<uint16_t>(at + 1), bits, own.first};
                b.runs[count] = run;
                own = {count++, own.votes + num_votes(run)};
                all_bits |= bits;
                at += 1 + num_votes(run);
            }
        }
    }
    b.wide = (all_bits & VotePage::kWide) != 0;
    return true;
}

PGS_INLINE uint32_t label_of(const RowBuilder::Run& run, uint32_t vote) {
    const uint32_t at = run.first + vote;
    return run.page->labels[at] | (run.votes & VotePage::kWide ? uint32_t{run.page->upper_labels[at]} << 16 : 0u);
}

PGS_INLINE uint64_t units_of(const RowBuilder::Run& run, uint32_t vote) {
    float weight;
    std::memcpy(&weight, run.page->weights + run.first + vote, sizeof weight);
    return units(weight);
}

// A row that votes are added to: b.label and b.sum, and what is known of all of them. Gathered on the way, since a vector
// that is read just after its parts were written stalls.
struct OpenRow {
    uint32_t count = 0;
    uint32_t labels = 0;  // all their bits
    uint64_t sums = 0;
    uint32_t new_voids = 0;  // labels 0 that were added

    PGS_MEMBER void put(RowBuilder& b, uint32_t at, uint32_t label, uint64_t sum) {
        b.label[at] = label;
        b.sum[at] = sum;
        labels |= label;
        sums |= sum;
        new_voids += (at == count) & (label == 0);
        count += at == count;
    }

    PGS_MEMBER void note_bits(const RowBuilder& b) {
        for (uint32_t i = 0; i < count; ++i) {
            labels |= b.label[i];
            sums |= b.sum[i];
        }
    }
};

template <class Label>
PGS_INLINE void end_row(RowBuilder& b, const Label* label, const OpenRow& row) {
    b.overflow |= row.sums >> 63 != 0;
    b.reserve_bytes(packed_bound(row.count));
    b.used = write_row(b.bytes + b.used, label, b.sum, row.count, row.labels, row.sums) - b.bytes;
}

// The next vote that is to be added to a row.
struct NextVote {
    uint32_t run;  // RowBuilder::kNoRun: there is none
    uint32_t vote;
};

#if defined(__AVX512F__)

// Labels of 16 places of a run's page.
template <class Labels>
PGS_INLINE typename Labels::Vector labels_of(const RowBuilder::Run& run, uint32_t at) {
    const __m256i lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(run.page->labels + at));
    const bool wide = sizeof(typename Labels::Label) == 4 && (run.votes & VotePage::kWide) != 0;
    if (!wide) return Labels::sixteen(lower, _mm256_setzero_si256());
    return Labels::sixteen(lower, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(run.page->upper_labels + at)));
}

PGS_INLINE __m512i eight_units(const RowBuilder::Run& run, uint32_t at) {
    return units(_mm256_loadu_ps(reinterpret_cast<const float*>(run.page->weights + at)));
}

// Adds votes to the row in `row_label` and b.sum, 8 at a time, while kVectors vectors hold it: each of its labels learns
// which of the 8 votes is for it. Votes for none of them are appended; those of a run have different labels. Lanes of a
// row that have no label hold ones, which no vote has.
template <class Labels, int kVectors>
PGS_INLINE NextVote add_runs(NextVote next, typename Labels::Label* row_label, RowBuilder& b, OpenRow& row) {
    using Vector = typename Labels::Vector;
    using Mask = typename Labels::Mask;
    constexpr int kGroups = Labels::kLabels / 8;
    constexpr uint32_t kAll = Labels::kLabels == 32 ? ~0u : (1u << (Labels::kLabels & 31)) - 1u;
    const Vector none = Labels::splat(-1);
    Vector label[kVectors];
    __m512i sum[kVectors * kGroups];
    uint32_t count = row.count;
    for (int j = 0; j < kVectors; ++j) {
        const uint32_t before = static_cast<uint32_t>(j * Labels::kLabels);
        const uint32_t here = count > before ? count - before : 0;
        const uint32_t held = here >= Labels::kLabels ? kAll : (1u << here) - 1u;
        label[j] = Labels::select(static_cast<Mask>(held), Labels::load(row_label + before), none);
        for (int i = 0; i < kGroups; ++i)
            sum[j * kGroups + i] = _mm512_maskz_mov_epi64(static_cast<__mmask8>(held >> 8 * i),
                                                          _mm512_loadu_si512(b.sum + before + 8 * i));
    }
    if (count == 0) {
        const RowBuilder::Run& run = b.runs[next.run];
        const uint32_t votes = num_votes(run);
        count = votes < 16 ? votes : 16;
        const uint32_t held = (1u << count) - 1u;
        label[0] = Labels::select(static_cast<Mask>(held), labels_of<Labels>(run, run.first), none);
        for (uint32_t i = 0; i < 2; ++i)
            sum[i] = _mm512_maskz_mov_epi64(static_cast<__mmask8>(held >> 8 * i), eight_units(run, run.first + 8 * i));
        row.new_voids = static_cast<uint32_t>(__builtin_popcount(mask_bits(Labels::equal(label[0], Labels::splat(0)))));
        next.vote = 16;
        if (next.vote >= votes) next = {run.next, 0};
    }
    while (next.run != RowBuilder::kNoRun) {
        const RowBuilder::Run& run = b.runs[next.run];
        const uint32_t votes = num_votes(run), at = run.first + next.vote;
        const uint32_t lanes = votes - next.vote < 8 ? votes - next.vote : 8;
        const Vector own = labels_of<Labels>(run, at);
        const __m512i weights = eight_units(run, at);
        Vector vote[kVectors];  // of each of the row's labels
        for (int j = 0; j < kVectors; ++j) vote[j] = none;
        // From the last one down, since what lies behind the votes may look like labels.
#pragma GCC unroll 8
        for (int number = 7; number >= 0; --number) {
            const Vector wanted = Labels::permute(own, Labels::splat(number));
            for (int j = 0; j < kVectors; ++j)
                vote[j] = Labels::select(Labels::equal(label[j], wanted), Labels::splat(number), vote[j]);
        }
        uint32_t found[kVectors], added = lanes;
        for (int j = 0; j < kVectors; ++j) {
            found[j] = mask_bits(Labels::below(vote[j], Labels::splat(static_cast<int>(lanes))));
            added -= static_cast<uint32_t>(__builtin_popcount(found[j]));
        }
        if (count + added > static_cast<uint32_t>(kVectors * Labels::kLabels)) break;
        if (added != 0) {
            Vector known = Labels::splat(0);
            for (int j = 0; j < kVectors; ++j)
                known |= Labels::bit(Labels::select(static_cast<Mask>(found[j]), vote[j], none));
            const uint32_t fresh = ((1u << lanes) - 1u) & ~Labels::any(known);
            const uint64_t chosen = _pext_u64(0x0706050403020100, 255 * _pdep_u64(fresh, 0x0101010101010101));
            const Vector from = Labels::bytes(_mm_cvtsi64_si128(static_cast<int64_t>(chosen)));
            for (int j = 0; j < kVectors; ++j) {
                const int end = static_cast<int>(count) - j * Labels::kLabels;  // the row's, as lanes of this vector
                const Vector to = Labels::subtract(Labels::lanes(), Labels::splat(end));
                const Mask here = Labels::below(to, Labels::splat(static_cast<int>(added)));
                vote[j] = Labels::select(here, Labels::permute(from, to), vote[j]);
                label[j] = Labels::select(here, Labels::permute(own, vote[j]), label[j]);
                found[j] |= mask_bits(here);
            }
            count += added;
            const uint32_t void_votes = mask_bits(Labels::equal(own, Labels::splat(0)));
            row.new_voids += static_cast<uint32_t>(__builtin_popcount(fresh & void_votes));
        }
        for (int j = 0; j < kVectors; ++j)
            for (int i = 0; i < kGroups; ++i) {
                __m512i& own_sum = sum[j * kGroups + i];
                own_sum = _mm512_mask_add_epi64(own_sum, static_cast<__mmask8>(found[j] >> 8 * i), own_sum,
                                                _mm512_permutexvar_epi64(Labels::eight(vote[j], i), weights));
            }
        // Without a branch, which would be foreseen badly.
        const uint32_t ended = next.vote + 8 >= votes ? ~0u : 0u;
        next.run ^= (next.run ^ run.next) & ended;
        next.vote = (next.vote + 8) & ~ended;
    }
    Vector labels = Labels::splat(0);
    __m512i sums = _mm512_setzero_si512();
    for (int j = 0; j < kVectors; ++j) {
        Labels::store(row_label + j * Labels::kLabels, label[j]);
        labels |= Labels::select(Labels::equal(label[j], none), Labels::splat(0), label[j]);
        for (int i = 0; i < kGroups; ++i) {
            _mm512_storeu_si512(b.sum + j * Labels::kLabels + 8 * i, sum[j * kGroups + i]);
            sums |= sum[j * kGroups + i];
        }
    }
    row.count = count;
    // No more of their bits than decides about widths and overflow.
    row.labels = uint32_t{Labels::has_bits(labels, 0x7f00) != 0} << 8;
    if (sizeof(typename Labels::Label) == 4)
        row.labels |= uint32_t{Labels::has_bits(labels, 0x7fff8000) != 0} << kNarrowBits;
    row.sums = uint64_t{_mm512_test_epi64_mask(sums, _mm512_set1_epi64(int64_t{0x7fff} << 48)) != 0} << 48 |
               uint64_t{_mm512_movepi64_mask(sums) != 0} << 63;
    return next;
}

#else

// The votes of a row's first run, whose labels differ from one another.
PGS_INLINE void copy_run(const RowBuilder::Run& run, RowBuilder& b, OpenRow& row) {
    row.count = num_votes(run);
    for (uint32_t i = 0; i < row.count; ++i) {
        const uint32_t label = label_of(run, i);
        b.label[i] = label;
        b.sum[i] = units_of(run, i);
        row.labels |= label;
        row.sums |= b.sum[i];
        row.new_voids += label == 0;
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
            for (int i = 0; i < kKnown; ++i) {
                const Mask held = first_lanes(static_cast<int>(num_known) - i * kLanes);
                known[i] = select(held, load(label + i * kLanes), splat_int(-1));
            }
        }
        for (uint32_t i = 0; i < num_votes(b.runs[run]); ++i) {
            const uint32_t one = label_of(b.runs[run], i);
            const Int wanted = splat_int(static_cast<int32_t>(one));
            uint64_t same = 0;
            for (int k = 0; k < kKnown; ++k) same |= uint64_t{bits(equal(known[k], wanted))} << (k * kLanes);
            const uint32_t at = same != 0 ? static_cast<uint32_t>(__builtin_ctzll(same)) : row.count;
            const uint64_t before = same != 0 ? b.sum[at] : 0;
            row.put(b, at, one, before + units_of(b.runs[run], i));
        }
    }
    return run;
}

#endif

// Adds the votes of this run and the ones that follow, through a table.
PGS_INLINE void tabulate_runs(NextVote next, int64_t most, RowBuilder& b, OpenRow& row) {
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
    for (; next.run != RowBuilder::kNoRun; next = {b.runs[next.run].next, 0}) {
        const RowBuilder::Run& run = b.runs[next.run];
        for (uint32_t i = next.vote; i < num_votes(run); ++i) {
            const uint32_t label = label_of(run, i), index = index_of(label);
            const uint64_t before = index < found ? b.sum[index] : 0;
            row.put(b, index, label, before + units_of(run, i));
            found = row.count;
        }
    }
}

// Adds the votes of `own` to a row and writes it.
PGS_INLINE void add_votes(const PackedRow& held, const RowBuilder::Runs& own, RowBuilder& b, OpenRow& row) {
    const int64_t most = static_cast<int64_t>(own.votes) + held.count;
    if (most > b.capacity) b.reserve_pairs(most);
    row.count = held.count;
    NextVote next{own.first, 0};
#if defined(__AVX512F__)
    const uint32_t expected = row.count == 0 ? own.votes : row.count;
    if (held.label_bytes <= 2 && !b.wide && expected <= 128) {
        unpack_row(held, b.narrow_label, b.sum);
        if (expected <= 16) next = add_runs<SixteenNarrow, 1>(next, b.narrow_label, b, row);
        if (next.run != RowBuilder::kNoRun && expected <= 32) next = add_runs<Narrow, 1>(next, b.narrow_label, b, row);
        if (next.run != RowBuilder::kNoRun && expected <= 64) next = add_runs<Narrow, 2>(next, b.narrow_label, b, row);
        if (next.run != RowBuilder::kNoRun) next = add_runs<Narrow, 4>(next, b.narrow_label, b, row);
        if (next.run == RowBuilder::kNoRun) return end_row(b, b.narrow_label, row);
        for (uint32_t i = 0; i < row.count; ++i) b.label[i] = b.narrow_label[i];
    } else {
        unpack_row(held, b.label, b.sum);
        if (expected <= 16) next = add_runs<Wide, 1>(next, b.label, b, row);
        if (next.run != RowBuilder::kNoRun && expected <= 32) next = add_runs<Wide, 2>(next, b.label, b, row);
        if (next.run != RowBuilder::kNoRun && expected <= 64) next = add_runs<Wide, 4>(next, b.label, b, row);
        if (next.run == RowBuilder::kNoRun) return end_row(b, b.label, row);
    }
    row.note_bits(b);
#else
    unpack_row(held, b.label, b.sum);
    row.note_bits(b);
    if (row.count == 0) {
        copy_run(b.runs[next.run], b, row);
        next.run = b.runs[next.run].next;
    }
    if (row.count <= kLanes) next.run = add_runs<1>(next.run, b, row);
    if (row.count <= 2 * kLanes) next.run = add_runs<2>(next.run, b, row);
    if (row.count <= 4 * kLanes) next.run = add_runs<4>(next.run, b, row);
#endif
    if (next.run != RowBuilder::kNoRun) tabulate_runs(next, most, b, row);
    end_row(b, b.label, row);
}

PGS_INLINE void copy_rows(RowBuilder& b, const uint8_t* from, const uint8_t* to) {
    if (from == to) return;
    b.reserve_bytes(to - from + kRowSlack);
    if (to - from <= kRowSlack)  // mostly a few empty rows
        std::memcpy(b.bytes + b.used, from, kRowSlack);
    else
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
        OpenRow row;
        add_votes(held, own, b, row);
        b.pairs += row.count - held.count;
        b.void_pairs += row.new_voids;
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
