// SPDX-License-Identifier: Apache-2.0
// Label votes: every pixel adds its blending weight to the pair (Gaussian, its label).
//
// The labels of a warp never change while it walks through the Gaussians of its tile, so its lanes are grouped by label
// once. For each Gaussian the weights of the largest group are summed in the warp and kept in shared memory until the
// batch ends, where warps of one label are combined before they touch global memory; lanes of other labels are summed
// group by group and added at once. All sums are integers: no order of blocks or warps changes them.
#pragma once

#include "traverse.cuh"

namespace panoptic_gs::device {

constexpr int kVoteBatch = 128;  // Gaussians in shared memory
constexpr int kHalfBits = 17;    // a weight is 2^-17 * high + 2^-34 * low
constexpr float kHalfScale = 131072.0f;
constexpr int32_t kFreeSlot = -1;

__device__ inline void add_vote(const VoteSlots& slots, int64_t gaussian, int32_t label, unsigned long long sum) {
    const int64_t row = gaussian * slots.slots;
    for (int slot = 0; slot < slots.slots; ++slot) {
        int32_t* owner = slots.labels + row + slot;
        int32_t found = *static_cast<volatile int32_t*>(owner);
        if (found == kFreeSlot) {
            found = static_cast<int32_t>(atomicCAS(owner, kFreeSlot, label));
            if (found == kFreeSlot) found = label;
        }
        if (found == label) {
            if (!slots.overflow_only) atomicAdd(slots.sums + row + slot, sum);
            return;
        }
    }
    const unsigned at = atomicAdd(slots.overflow_count, 1u);
    if (at < slots.overflow_capacity) {
        slots.overflow_keys[at] = gaussian << 32 | label;
        slots.overflow_sums[at] = static_cast<int64_t>(sum);
    }
}

__device__ inline unsigned long long warp_votes(uint32_t high, uint32_t low) {
    const unsigned long long sum_high = warp_sum(high);
    return (sum_high << kHalfBits) + warp_sum(low);
}

template <bool kWeighted>
__global__ void __launch_bounds__(kThreads)
    label_votes_kernel(TileLists lists, const int32_t* label_map, const float* weights, VoteSlots slots) {
    __shared__ Footprint batch[kVoteBatch];
    __shared__ unsigned long long partial[kWarps][kVoteBatch];
    __shared__ int32_t main_labels[kWarps];

    const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
    const int tile = static_cast<int>(blockIdx.x);
    const TileOfBlock place(lists, tile, thread);
    const bool inside = place.inside;
    const int64_t at = place.pixel(lists);

    for (int i = thread; i < kWarps * kVoteBatch; i += kThreads) partial[i / kVoteBatch][i % kVoteBatch] = 0;

    // Lanes outside the image take the label of one inside, so that they form no group of their own.
    int32_t label = inside ? label_map[at] : 0;
    const unsigned lanes_inside = __ballot_sync(kFullWarp, inside);
    const int32_t stand_in =
        __shfl_sync(kFullWarp, label, lanes_inside ? __ffs(static_cast<int>(lanes_inside)) - 1 : 0);
    if (!inside) label = stand_in;
    const unsigned group = __match_any_sync(kFullWarp, label);
    int largest = __popc(group) << 5 | (31 - lane);
    for (int step = 16; step > 0; step >>= 1) largest = max(largest, __shfl_xor_sync(kFullWarp, largest, step));
    const int32_t main_label = __shfl_sync(kFullWarp, label, 31 - (largest & 31));
    const bool in_main = label == main_label;
    const bool one_label = __all_sync(kFullWarp, in_main);
    if (lane == 0) main_labels[warp] = main_label;

    const float factor = kWeighted ? (inside ? weights[at] : 0.0f) : 1.0f;
    float transmittance = 1.0f;
    bool done = !inside;

    for (int first = place.first; first < place.end; first += kVoteBatch) {
        if (__syncthreads_count(done) == kThreads) break;
        const int count = min(kVoteBatch, place.end - first);
        if (thread < count) batch[thread] = load_footprint(lists, first + thread);
        __syncthreads();

        if (!__all_sync(kFullWarp, done)) {
            for (int i = 0; i < count; ++i) {
                const float weight = blend(batch[i], place.px(), place.py(), lists.alpha_max, transmittance, done);
                if (!__any_sync(kFullWarp, weight > 0.0f)) continue;
                const float scaled = weight * factor * kHalfScale;
                const uint32_t high = static_cast<uint32_t>(scaled);
                const uint32_t low = static_cast<uint32_t>((scaled - static_cast<float>(high)) * kHalfScale + 0.5f);
                const unsigned long long main_sum = warp_votes(in_main ? high : 0u, in_main ? low : 0u);
                if (lane == 0) partial[warp][i] = main_sum;
                if (one_label) continue;
                unsigned others = __ballot_sync(kFullWarp, !in_main && (high | low) != 0u);
                while (others != 0u) {
                    const int leader = __ffs(static_cast<int>(others)) - 1;
                    const unsigned members = __shfl_sync(kFullWarp, group, leader);
                    const bool member = (members >> lane & 1u) != 0u;
                    const unsigned long long sum = warp_votes(member ? high : 0u, member ? low : 0u);
                    if (lane == leader) add_vote(slots, batch[i].id, label, sum);
                    others &= ~members;
                }
            }
        }
        __syncthreads();

        if (thread < count) {
            for (int w = 0; w < kWarps; ++w) {
                unsigned long long sum = partial[w][thread];
                partial[w][thread] = 0;
                if (sum == 0) continue;
                for (int v = w + 1; v < kWarps; ++v) {
                    if (main_labels[v] != main_labels[w]) continue;
                    sum += partial[v][thread];
                    partial[v][thread] = 0;
                }
                add_vote(slots, batch[thread].id, main_labels[w], sum);
            }
        }
    }
}

}  // namespace panoptic_gs::device
