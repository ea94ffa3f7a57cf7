// SPDX-License-Identifier: Apache-2.0
// How every device kernel walks through a tile: 256 threads, one pixel each, Gaussians in batches in shared memory, the
// blending arithmetic of core/blend.h.
#pragma once

#include "core/blend.h"
#include "device.h"
#include "launch.h"

namespace panoptic_gs::device {

__device__ inline Footprint load_footprint(const TileLists& lists, int intersection) {
    const int64_t gaussian = lists.flatten_ids[intersection];
    const float* mean = lists.means2d + 2 * gaussian;
    const float* conic = lists.conics + 3 * gaussian;
    return footprint_from_conic(mean[0], mean[1], conic[0], conic[1], conic[2], lists.opacities[gaussian], 0.0f,
                                static_cast<uint32_t>(gaussian));
}

// The blending weight of a Gaussian at a pixel; 0 where it is skipped or the pixel has ended.
__device__ inline float blend(const Footprint& footprint, float px, float py, float alpha_max, float& transmittance,
                              bool& done) {
    const float power = pair_power(footprint, px, py);
    if (done || !(power >= kLog2AlphaMin)) return 0.0f;
    const float alpha = fminf(exp2f(power), alpha_max);
    const float next = next_transmittance(alpha, transmittance);
    if (next <= kTransmittanceMin) {
        done = true;
        return 0.0f;
    }
    const float weight = alpha * transmittance;
    transmittance = next;
    return weight;
}

struct TileOfBlock {
    int first, end;  // intersections
    int x, y;        // this thread's pixel
    bool inside;
    __device__ TileOfBlock(const TileLists& lists, int tile, int thread) {
        // A warp covers 8 x 4 pixels, so that its lanes meet the same Gaussians and labels.
        x = tile % lists.tile_width * kTileSide + ((thread >> 5) & 1) * 8 + (thread & 7);
        y = tile / lists.tile_width * kTileSide + (thread >> 6) * 4 + ((thread & 31) >> 3);
        inside = x < lists.width && y < lists.height;
        first = lists.offsets[tile];
        end = tile + 1 < lists.tile_width * lists.tile_height ? lists.offsets[tile + 1] : lists.num_intersections;
    }
    __device__ int64_t pixel(const TileLists& lists) const { return static_cast<int64_t>(y) * lists.width + x; }
    __device__ float px() const { return static_cast<float>(x) + kPixelCentre; }
    __device__ float py() const { return static_cast<float>(y) + kPixelCentre; }
};

}  // namespace panoptic_gs::device
