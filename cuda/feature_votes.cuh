// SPDX-License-Identifier: Apache-2.0
// Feature votes: every Gaussian sums blending weight x feature over its pixels.
//
// A block holds one tile's features of kChannels channels in shared memory and walks through the tile's Gaussians,
// kWarps at a time: all threads blend, each its pixel, and leave the weights in shared memory; then each warp sums up
// one of the Gaussians, a channel a lane, over the pixels that it touches. A tile's sum is taken in float, in an order
// that nothing changes, and added to the Gaussian's as an integer: no order of blocks shows in the result.
#pragma once

#include "traverse.cuh"

namespace panoptic_gs::device {

constexpr int kChannels = 32;                 // of a block, one a lane
constexpr int kFeatureBatch = 64;             // Gaussians in shared memory
constexpr int kTogether = 4;                  // pixels that are skipped or summed together
constexpr float kVoteUnits = 17179869184.0f;  // 2^34, of a sum of weights

// Blocks of a launch: tiles, and groups of channels.
__host__ inline dim3 feature_blocks(const TileLists& lists, const FeatureChannels& features) {
    return dim3(static_cast<unsigned>(lists.tile_width * lists.tile_height),
                static_cast<unsigned>((features.count + kChannels - 1) / kChannels));
}

struct FeatureTile {
    alignas(16) float weight[kWarps][kThreads];  // of the Gaussians blended together, at each pixel
    float feature[kThreads][kChannels];
    unsigned hits[kWarps][kWarps];  // [Gaussian, warp of the pixels] lanes with weight
};

__device__ inline void load_features(const TileLists& lists, const FeatureChannels& features, int tile, int group,
                                     int warp, int lane, FeatureTile& shared) {
    const int column = group * kChannels + lane;
    for (int i = 0; i < 32; ++i) {
        const TileOfBlock place(lists, tile, warp * 32 + i);
        const bool present = place.inside && column < features.count;
        shared.feature[warp * 32 + i][lane] =
            present ? features.values[place.pixel(lists) * features.channels + features.first + column] : 0.0f;
    }
}

// Adds the sums of one Gaussian, number `slot` of those blended together, over the tile.
__device__ inline void add_gaussian(const FeatureTile& shared, int slot, int64_t gaussian,
                                    const FeatureChannels& features, const FeatureSums& sums, float scale, int group,
                                    int lane) {
    float sum = 0.0f, total = 0.0f;
    unsigned any = 0;
    for (int from = 0; from < kWarps; ++from) {
        const unsigned hit = shared.hits[slot][from];
        if (hit == 0u) continue;
        any |= hit;
        total += shared.weight[slot][from * 32 + lane];
#pragma unroll
        for (int first = 0; first < 32; first += kTogether) {
            if ((hit >> first & ((1u << kTogether) - 1u)) == 0u) continue;
            const int pixel = from * 32 + first;
#pragma unroll
            for (int k = 0; k < kTogether; ++k)
                sum = fmaf(shared.weight[slot][pixel + k], shared.feature[pixel + k][lane], sum);
        }
    }
    if (any == 0u) return;
    const int column = group * kChannels + lane;
    if (column < features.count) {
        const long long units = __float2ll_rn(sum * scale);
        if (units != 0) {
            atomicAdd(sums.sums + gaussian * features.count + column, static_cast<unsigned long long>(units));
        }
    }
    if (sums.totals != nullptr && group == 0) {
        for (int step = 16; step > 0; step >>= 1) total += __shfl_xor_sync(kFullWarp, total, step);
        if (lane == 0) {
            atomicAdd(sums.totals + gaussian, static_cast<unsigned long long>(__float2ll_rn(total * kVoteUnits)));
        }
    }
}

template <bool kWeighted>
__global__ void __launch_bounds__(kThreads)
    feature_votes_kernel(TileLists lists, FeatureChannels features, FeatureSums sums) {
    __shared__ Footprint batch[kFeatureBatch];
    __shared__ FeatureTile shared;

    const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
    const int tile = static_cast<int>(blockIdx.x), group = static_cast<int>(blockIdx.y);
    const TileOfBlock place(lists, tile, thread);
    if (place.first >= place.end) return;

    load_features(lists, features, tile, group, warp, lane, shared);
    const float scale = *features.scale;
    const float factor = kWeighted && place.inside ? features.weights[place.pixel(lists)] : 1.0f;
    float transmittance = 1.0f;
    bool done = !place.inside;

    for (int first = place.first; first < place.end; first += kFeatureBatch) {
        if (__syncthreads_count(done) == kThreads) break;
        const int count = min(kFeatureBatch, place.end - first);
        if (thread < count) batch[thread] = load_footprint(lists, first + thread);
        __syncthreads();
        for (int start = 0; start < count; start += kWarps) {
            const int some = min(kWarps, count - start);
            for (int slot = 0; slot < some; ++slot) {
                const float blended =
                    blend(batch[start + slot], place.px(), place.py(), lists.alpha_max, transmittance, done);
                const float weight = kWeighted ? blended * factor : blended;
                const unsigned hit = __ballot_sync(kFullWarp, weight > 0.0f);
                if (hit != 0u) shared.weight[slot][thread] = weight;
                if (lane == 0) shared.hits[slot][warp] = hit;
            }
            __syncthreads();
            if (warp < some) {
                add_gaussian(shared, warp, batch[start + warp].id, features, sums, scale, group, lane);
            }
            __syncthreads();
        }
    }
}

}  // namespace panoptic_gs::device
