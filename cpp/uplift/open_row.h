// SPDX-License-Identifier: Apache-2.0
// A Gaussian's row while a view's votes are added to it: how votes are read, and what is known of the row. For hot
// sources.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"
#include "uplift/packed_rows.h"
#include "uplift/view_votes.h"
#include "uplift/vote_store.h"

namespace panoptic_gs::PGS_ISA {

// A weight as an integer.
PGS_INLINE uint64_t units(float weight) {
    return static_cast<uint64_t>(static_cast<int64_t>(static_cast<double>(weight) * kVoteScale + 0.5));
}

PGS_INLINE uint32_t num_votes(const RowBuilder::Run& run) { return run.votes & ~VotePage::kWide; }

PGS_INLINE uint32_t label_of(const RowBuilder::Run& run, uint32_t vote) {
    const uint32_t at = run.first + vote;
    return run.page->labels[at] | (run.votes & VotePage::kWide ? uint32_t{run.page->upper_labels[at]} << 16 : 0u);
}

PGS_INLINE uint64_t units_of(const RowBuilder::Run& run, uint32_t vote) {
    float weight;
    std::memcpy(&weight, run.page->weights + run.first + vote, sizeof weight);
    return units(weight);
}

// A row that votes are added to: b.row.label and b.row.sum, and what is known of all of them. Gathered on the way,
// since a vector that is read just after its parts were written stalls.
struct OpenRow {
    uint32_t count = 0;
    uint32_t labels = 0;  // all their bits
    uint64_t sums = 0;
    uint32_t new_voids = 0;  // labels 0 that were added

    inline __attribute__((always_inline)) void put(RowBuilder& b, uint32_t at, uint32_t label, uint64_t sum) {
        b.row.label[at] = label;
        b.row.sum[at] = sum;
        labels |= label;
        sums |= sum;
        new_voids += (at == count) & (label == 0);
        count += at == count;
    }

    inline __attribute__((always_inline)) void note_bits(const RowBuilder& b) {
        for (uint32_t i = 0; i < count; ++i) {
            labels |= b.row.label[i];
            sums |= b.row.sum[i];
        }
    }
};

template <class Label>
PGS_INLINE void end_row(RowBuilder& b, const Label* label, const OpenRow& row) {
    b.rows.overflow |= row.sums >> 63 != 0;
    b.reserve_bytes(packed_bound(row.count));
    b.rows.used =
        write_row(b.rows.bytes + b.rows.used, label, b.row.sum, row.count, row.labels, row.sums) - b.rows.bytes;
}

// The next vote that is to be added to a row.
struct NextVote {
    uint32_t run;  // RowBuilder::kNoRun: there is none
    uint32_t vote;
};

}  // namespace panoptic_gs::PGS_ISA
