// SPDX-License-Identifier: Apache-2.0
//
// Sums over pixels of min(M_i, M_j) for all pairs of query masks, M = sigmoid(logits): Q^2 / 2 minima a pixel.
//
// Exactness: masks are single precision numbers, the logits' sigmoids rounded once. The sums of a chunk of pixels are
// taken in 16 lanes whatever the instruction set, so at most 15 single precision additions follow each other; the
// lanes, and the chunks of a stretch, are added in double precision. All terms are positive: the relative error stays
// below 17 * 2^-24 = 1.02e-6 and is a tenth of that in practice. The sum of a stretch is rounded to a multiple of 2^-34
// and stretches are added as integers, so no order of stretches, views or threads changes a bit.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace panoptic_gs {

constexpr int kOverlapLanes = 16;
constexpr int kOverlapChunk = 16 * kOverlapLanes;  // pixels summed in single precision
constexpr int64_t kOverlapStretch = 4096;          // pixels of a task
constexpr int kOverlapTile = 4;                    // queries a side of a tile of pairs
constexpr double kOverlapUnits = 17179869184.0;    // 2^34

struct OverlapJob {
    int64_t queries, pixels;
    const uint16_t* logits;  // [Q, P] bits of float16; null where masks are given
    const float* masks;      // [Q, P] probabilities; null where logits are given
    const float* sigmoid;    // [65536] by the bits of a float16

    int64_t tiles() const { return (queries + kOverlapTile - 1) / kOverlapTile; }
    int64_t scratch_size() const { return tiles() * kOverlapTile * kOverlapChunk; }
    int64_t sums_size() const { return tiles() * tiles() * kOverlapTile * kOverlapTile; }
};

#define PGS_DECLARE(isa)                                                                                              \
    namespace isa {                                                                                                   \
    /* Adds the sums over pixels [begin, end) to `totals` [Q, Q], upper triangle, in units of 2^-34. `scratch` and */ \
    /* `sums`, 64-byte aligned, are overwritten. */                                                                   \
    void add_overlaps(const OverlapJob& job, int64_t begin, int64_t end, float* scratch, double* sums,                \
                      int64_t* totals);                                                                               \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
