// SPDX-License-Identifier: Apache-2.0
// The door from the bindings to the device kernels: plain pointers to device memory, a stream, no allocation and no
// synchronisation. Each function returns nullptr, or what went wrong at the launch.
#pragma once

#include <cstdint>

namespace panoptic_gs::device {

// Where a kernel is launched: the device that holds its arguments, which stays current, and a cudaStream_t of it.
struct Queue {
    int device;
    void* stream;
};

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
    float alpha_max;             // what alpha is clamped to, as in the forward pass
};

// Where votes go: a few slots a Gaussian, each claimed for good by the first label that needs it. What finds no slot is
// appended to the overflow list. `overflow_count` counts on when the list is full, and the view's overflow is then
// collected again into a longer one with `overflow_only`: slots never change hands, so it meets exactly the same pairs.
struct VoteSlots {
    int slots;                 // per Gaussian
    int32_t* labels;           // [N, slots], -1 = free
    unsigned long long* sums;  // [N, slots], units of 2^-34
    int64_t* overflow_keys;    // [capacity] Gaussian << 32 | label
    int64_t* overflow_sums;    // [capacity]
    unsigned* overflow_count;  // [1]
    unsigned overflow_capacity;
    bool overflow_only;
};

const char* add_label_votes(const TileLists& lists, const int32_t* label_map, const float* weights, VoteSlots slots,
                            Queue queue);

// Some of the channels of a feature map.
struct FeatureChannels {
    const float* values;   // [H, W, channels]
    const float* weights;  // [H, W] or nullptr: factors of the blending weights
    int channels;
    int first, count;    // the channels summed here
    const float* scale;  // [1] a sum's units in one; a power of two that leaves room for all pixels
};

// Sums over pixels of blending weight x feature, as integers: no order of blocks changes them.
struct FeatureSums {
    unsigned long long* sums;    // [N, count] two's complement, added to
    unsigned long long* totals;  // [N] units of 2^-34 of the weights' sum, added to; or nullptr
};

const char* add_feature_votes(const TileLists& lists, FeatureChannels features, FeatureSums sums, Queue queue);

// Sparse label rows over compact labels (ranks of the label ids in ascending order).
struct LabelRows {
    const int64_t* indptr;  // [N + 1]
    const int32_t* rank;    // [nnz] ascending within a row
    const float* weight;    // [nnz]
    int num_ranks;
};

// ranks [H, W]: the winning rank, or -1 where no labelled weight lands.
const char* render_panoptic(const TileLists& lists, const LabelRows& labels, int32_t* ranks, float* confidence,
                            float* accumulation, Queue queue);

// Adds 1 to pseudo-random counters `rounds` times in each of `threads` threads (rounded up to whole blocks): what the
// device's atomics can do, for benchmarks. The number of counters is a power of two.
const char* atomic_adds(unsigned long long* counters, unsigned num_counters, int64_t threads, int rounds, Queue queue);

}  // namespace panoptic_gs::device
