// SPDX-License-Identifier: Apache-2.0
// The door from the bindings to the device kernels: plain pointers to device memory, a stream, no allocation and no
// synchronisation. Each function returns nullptr, or what went wrong at the launch.
#pragma once

#include <cstdint>

namespace panoptic_gs::device {

// One view's Gaussians, sorted by tile and depth, as gsplat's isect_tiles and isect_offset_encode leave them
// (16 x 16 tiles).
struct TileLists {
    int width, height;            // image, pixels
    int tile_width, tile_height;  // image, tiles
    int num_intersections;
    const int32_t* offsets;      // [tile_height, tile_width] first intersection of each tile
    const int32_t* flatten_ids;  // [num_intersections] Gaussians (one camera, not packed)
    const float* means2d;        // [N, 2]
    const float* conics;         // [N, 3]
    const float* opacities;      // [N]
};

// Where votes go: a few slots a Gaussian, each claimed for good by the first label that needs it. What finds no slot is
// appended to the overflow list. `overflow_count` counts on when the list is full, and the view's overflow is then
// collected again into a longer one with `overflow_only`: slots never change hands, so it meets exactly the same pairs.
struct VoteSlots {
    int slots;                // per Gaussian
    int32_t* labels;          // [N, slots], -1 = free
    unsigned long long* sums; // [N, slots], units of 2^-34
    int64_t* overflow_keys;   // [capacity] Gaussian << 32 | label
    int64_t* overflow_sums;   // [capacity]
    unsigned* overflow_count; // [1]
    unsigned overflow_capacity;
    bool overflow_only;
};

const char* add_label_votes(const TileLists& lists, const int32_t* label_map, const float* weights, VoteSlots slots,
                            void* stream);

// Sparse label rows over compact labels (ranks of the label ids in ascending order).
struct LabelRows {
    const int64_t* indptr;  // [N + 1]
    const int32_t* rank;    // [nnz] ascending within a row
    const float* weight;    // [nnz]
    int num_ranks;
};

// ranks [H, W]: the winning rank, or -1 where no labelled weight lands.
const char* render_panoptic(const TileLists& lists, const LabelRows& labels, int32_t* ranks, float* confidence,
                            float* accumulation, void* stream);

}  // namespace panoptic_gs::device
