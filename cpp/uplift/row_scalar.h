// SPDX-License-Identifier: Apache-2.0
// Adding votes to a row one by one: each is compared with vectors of the row's labels.
#pragma once

#include "core/gaussian_math.h"
#include "uplift/open_row.h"

namespace panoptic_gs::PGS_ISA {

// The votes of a row's first run, whose labels differ from one another.
PGS_INLINE void copy_run(const RowBuilder::Run& run, RowBuilder& b, OpenRow& row) {
    row.count = num_votes(run);
    for (uint32_t i = 0; i < row.count; ++i) {
        const uint32_t label = label_of(run, i);
        b.row.label[i] = label;
        b.row.sum[i] = units_of(run, i);
        row.labels |= label;
        row.sums |= b.row.sum[i];
        row.new_voids += label == 0;
    }
}

// Adds the votes of runs while kKnown vectors hold the row's labels: a run's labels differ from one another, so they
// are looked for among those of the row before it. Returns the run at which the row has become longer.
template <int kKnown>
PGS_INLINE uint32_t add_runs(uint32_t run, RowBuilder& b, OpenRow& row) {
    const auto* label = reinterpret_cast<const int32_t*>(b.row.label);
    Int known[kKnown] = {};
    uint32_t num_known = 0;  // so far none, as the row is not empty
    for (; run != RowBuilder::kNoRun && row.count <= kKnown * kLanes; run = b.runs.all[run].next) {
        if (row.count != num_known) {
            num_known = row.count;
            for (int i = 0; i < kKnown; ++i) {
                const Mask held = first_lanes(static_cast<int>(num_known) - i * kLanes);
                known[i] = select(held, load(label + i * kLanes), splat_int(-1));
            }
        }
        for (uint32_t i = 0; i < num_votes(b.runs.all[run]); ++i) {
            const uint32_t one = label_of(b.runs.all[run], i);
            const Int wanted = splat_int(static_cast<int32_t>(one));
            uint64_t same = 0;
            for (int k = 0; k < kKnown; ++k) same |= uint64_t{bits(equal(known[k], wanted))} << (k * kLanes);
            const uint32_t at = same != 0 ? static_cast<uint32_t>(__builtin_ctzll(same)) : row.count;
            const uint64_t before = same != 0 ? b.row.sum[at] : 0;
            row.put(b, at, one, before + units_of(b.runs.all[run], i));
        }
    }
    return run;
}

// Adds votes to a row while vectors hold its labels, and writes it where none is left. Returns the first vote that is
// left; b.row.label and b.row.sum hold the row then.
PGS_INLINE NextVote add_while_in_vectors(const PackedRow& held, const RowBuilder::Runs& own, RowBuilder& b,
                                         OpenRow& row) {
    uint32_t run = own.first;
    unpack_row(held, b.row.label, b.row.sum);
    row.note_bits(b);
    if (row.count == 0) {
        copy_run(b.runs.all[run], b, row);
        run = b.runs.all[run].next;
    }
    if (row.count <= kLanes) run = add_runs<1>(run, b, row);
    if (row.count <= 2 * kLanes) run = add_runs<2>(run, b, row);
    if (row.count <= 4 * kLanes) run = add_runs<4>(run, b, row);
    if (run == RowBuilder::kNoRun) end_row(b, b.row.label, row);
    return {run, 0};
}

}  // namespace panoptic_gs::PGS_ISA
