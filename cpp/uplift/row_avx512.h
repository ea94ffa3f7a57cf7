// SPDX-License-Identifier: Apache-2.0
// Adding votes to a row with AVX-512: eight votes at a time are compared with all of the row's labels.
#pragma once

#if !defined(__AVX512F__)
#error "row_scalar.h is for other instruction sets"
#endif

#include <immintrin.h>

#include "uplift/label_vectors.h"
#include "uplift/open_row.h"

namespace panoptic_gs::PGS_ISA {

// Weights as integers. The product is exact, so fusing the sum rounds alike.
PGS_INLINE __m512i units(__m256 weight) {
    return _mm512_cvttpd_epi64(
        _mm512_fmadd_pd(_mm512_cvtps_pd(weight), _mm512_set1_pd(kVoteScale), _mm512_set1_pd(0.5)));
}

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

// Adds votes to the row in `row_label` and b.row.sum, 8 at a time, while kVectors vectors hold it: each of its labels
// learns which of the 8 votes is for it. Votes for none of them are appended; those of a run have different labels.
// Lanes of a row that have no label hold ones, which no vote has.
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
                                                          _mm512_loadu_si512(b.row.sum + before + 8 * i));
    }
    if (count == 0) {
        const RowBuilder::Run& run = b.runs.all[next.run];
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
        const RowBuilder::Run& run = b.runs.all[next.run];
        const uint32_t votes = num_votes(run), at = run.first + next.vote;
        const uint32_t lanes = votes - next.vote < 8 ? votes - next.vote : 8;
        const Vector own = labels_of<Labels>(run, at);
        const __m512i weights = eight_units(run, at);
        Vector vote[kVectors];  // of each of the row's labels
        for (int j = 0; j < kVectors; ++j) vote[j] = none;
            // From the last one down, since what follows the votes in memory may look like labels.
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
        // Without a branch, which would be mispredicted.
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
            _mm512_storeu_si512(b.row.sum + j * Labels::kLabels + 8 * i, sum[j * kGroups + i]);
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

// Adds votes to a row while vectors hold its labels, and writes it where none is left. Returns the first vote that is
// left; b.row.label and b.row.sum hold the row then.
PGS_INLINE NextVote add_while_in_vectors(const PackedRow& held, const RowBuilder::Runs& own, RowBuilder& b,
                                         OpenRow& row) {
    constexpr uint32_t kMostInVectors = 128;
    const uint32_t expected = row.count == 0 ? own.votes : row.count;
    NextVote next{own.first, 0};
    const auto votes_left = [&] { return next.run != RowBuilder::kNoRun; };
    if (held.label_bytes <= 2 && !b.runs.wide && expected <= kMostInVectors) {
        unpack_row(held, b.row.narrow_label, b.row.sum);
        if (expected <= 16) next = add_runs<SixteenNarrow, 1>(next, b.row.narrow_label, b, row);
        if (votes_left() && expected <= 32) next = add_runs<Narrow, 1>(next, b.row.narrow_label, b, row);
        if (votes_left() && expected <= 64) next = add_runs<Narrow, 2>(next, b.row.narrow_label, b, row);
        if (votes_left()) next = add_runs<Narrow, 4>(next, b.row.narrow_label, b, row);
        if (!votes_left()) {
            end_row(b, b.row.narrow_label, row);
            return next;
        }
        for (uint32_t i = 0; i < row.count; ++i) b.row.label[i] = b.row.narrow_label[i];
    } else {
        unpack_row(held, b.row.label, b.row.sum);
        if (expected <= 16) next = add_runs<Wide, 1>(next, b.row.label, b, row);
        if (votes_left() && expected <= 32) next = add_runs<Wide, 2>(next, b.row.label, b, row);
        if (votes_left() && expected <= 64) next = add_runs<Wide, 4>(next, b.row.label, b, row);
        if (!votes_left()) {
            end_row(b, b.row.label, row);
            return next;
        }
    }
    row.note_bits(b);
    return next;
}

}  // namespace panoptic_gs::PGS_ISA
