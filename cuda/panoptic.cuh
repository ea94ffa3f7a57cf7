// SPDX-License-Identifier: Apache-2.0
// Renders label rows: per pixel the label with the largest sum of blending weight x share.
//
// A tile's labels are found first: a bit for each label of its Gaussians, numbered by counting bits, so that numbers
// ascend with labels. The tile is then blended once for every kPlanes of them, each thread adding to its own column of
// the planes in shared memory. Most tiles hold few labels and are blended once. The first entries of the Gaussians'
// rows that fall into the planes are put into shared memory with them, so that threads seldom look at rows themselves.
#pragma once

#include "traverse.cuh"

namespace panoptic_gs::device {

constexpr int kPlanes = 16;
constexpr int kRenderBatch = 64;
constexpr int kStaged = 4;    // entries of a row in shared memory
constexpr int kWords = 1024;  // of 32 labels, at a time

// A window of kWords * 32 consecutive ranks, and which of them the tile holds.
struct TileRanks {
    uint32_t present[kWords];
    int before[kWords];  // present ranks in the words before
    int total;
};

__device__ inline void find_ranks(const TileLists& lists, const LabelRows& labels, const TileOfBlock& place, int window,
                                  int words, int thread, TileRanks& ranks) {
    __shared__ int sums[kThreads];
    for (int word = thread; word < words; word += kThreads) ranks.present[word] = 0;
    __syncthreads();
    for (int at = place.first + thread; at < place.end; at += kThreads) {
        const int64_t gaussian = lists.flatten_ids[at];
        for (int64_t entry = labels.indptr[gaussian]; entry < labels.indptr[gaussian + 1]; ++entry) {
            const int word = (labels.rank[entry] >> 5) - window;
            if (word >= 0 && word < words) atomicOr(&ranks.present[word], 1u << (labels.rank[entry] & 31));
        }
    }
    __syncthreads();
    const int share = (words + kThreads - 1) / kThreads;
    int own = 0;
    for (int i = 0; i < share && thread * share + i < words; ++i) own += __popc(ranks.present[thread * share + i]);
    sums[thread] = own;
    __syncthreads();
    for (int step = 1; step < kThreads; step <<= 1) {
        const int other = thread >= step ? sums[thread - step] : 0;
        __syncthreads();
        sums[thread] += other;
        __syncthreads();
    }
    int before = sums[thread] - own;
    for (int i = 0; i < share && thread * share + i < words; ++i) {
        ranks.before[thread * share + i] = before;
        before += __popc(ranks.present[thread * share + i]);
    }
    if (thread == kThreads - 1) ranks.total = sums[thread];
    __syncthreads();
}

// The rank, within the window, of the number-th label of the tile.
__device__ inline int rank_of(const TileRanks& ranks, int words, int number) {
    int low = 0, high = words - 1;  // the last word with before <= number
    while (low < high) {
        const int middle = (low + high + 1) >> 1;
        if (ranks.before[middle] <= number) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    uint32_t bits = ranks.present[low];
    for (int skip = number - ranks.before[low]; skip > 0; --skip) bits &= bits - 1;
    return low * 32 + __ffs(static_cast<int>(bits)) - 1;
}

// Which entries of a Gaussian's row belong to the planes.
struct StagedRow {
    int count;
    int plane[kStaged];
    float share[kStaged];
    int64_t rest, end;  // entries that did not fit, or belong to other planes
};

// The plane of a rank, counted from the first of the planes at hand; negative or kPlanes and more for other ranks.
__device__ inline int plane_of(const TileRanks& ranks, int rank, int window, int words, int first_number) {
    const int word = (rank >> 5) - window;
    if (word < 0 || word >= words) return -1;
    const uint32_t below = ranks.present[word] & ((1u << (rank & 31)) - 1u);
    return ranks.before[word] + __popc(below) - first_number;
}

__device__ inline void stage_row(const LabelRows& labels, const TileRanks& ranks, int64_t gaussian, int window,
                                 int words, int first_number, StagedRow& row) {
    int count = 0;
    int64_t entry = labels.indptr[gaussian];
    const int64_t end = labels.indptr[gaussian + 1];
    for (; entry < end && count < kStaged; ++entry) {
        const int plane = plane_of(ranks, labels.rank[entry], window, words, first_number);
        if (plane < 0 || plane >= kPlanes) continue;
        row.plane[count] = plane;
        row.share[count++] = labels.weight[entry];
    }
    row.count = count;
    row.rest = entry;
    row.end = end;
}

// At least 4 blocks a multiprocessor: without that number the compiler aims at more, and spills.
__global__ void __launch_bounds__(kThreads, 4)
    panoptic_kernel(TileLists lists, LabelRows labels, int32_t* winners, float* confidence, float* accumulation) {
    __shared__ Footprint batch[kRenderBatch];
    __shared__ StagedRow rows[kRenderBatch];
    __shared__ TileRanks ranks;
    __shared__ float planes[kPlanes][kThreads];

    const int thread = static_cast<int>(threadIdx.x);
    const TileOfBlock place(lists, static_cast<int>(blockIdx.x), thread);
    const int all_words = (labels.num_ranks + 31) / 32;
    float best = 0.0f, transmittance = 1.0f;
    int winner = -1;

    // At least one pass, for the accumulation.
    for (int window = 0; window == 0 || window < all_words; window += kWords) {
        const int words = min(kWords, all_words - window);
        find_ranks(lists, labels, place, window, words, thread, ranks);
        for (int first_number = 0; first_number < ranks.total || (window == 0 && first_number == 0);
             first_number += kPlanes) {
            for (int plane = 0; plane < kPlanes; ++plane) planes[plane][thread] = 0.0f;
            transmittance = 1.0f;
            bool done = !place.inside;
            for (int first = place.first; first < place.end; first += kRenderBatch) {
                if (__syncthreads_count(done) == kThreads) break;
                const int count = min(kRenderBatch, place.end - first);
                if (thread < count) {
                    batch[thread] = load_footprint(lists, first + thread);
                    stage_row(labels, ranks, batch[thread].id, window, words, first_number, rows[thread]);
                }
                __syncthreads();
                for (int i = 0; i < count; ++i) {
                    if (__all_sync(kFullWarp, done)) break;
                    const float weight = blend(batch[i], place.px(), place.py(), lists.alpha_max, transmittance, done);
                    if (!__any_sync(kFullWarp, weight > 0.0f)) continue;
                    const StagedRow& row = rows[i];
                    for (int k = 0; k < row.count; ++k) planes[row.plane[k]][thread] += weight * row.share[k];
                    for (int64_t entry = row.rest; entry < row.end; ++entry) {
                        const int plane = plane_of(ranks, labels.rank[entry], window, words, first_number);
                        if (plane >= 0 && plane < kPlanes) planes[plane][thread] += weight * labels.weight[entry];
                    }
                }
                __syncthreads();
            }
            for (int plane = 0; plane < kPlanes && first_number + plane < ranks.total; ++plane) {
                if (planes[plane][thread] > best) {
                    best = planes[plane][thread];
                    winner = window * 32 + rank_of(ranks, words, first_number + plane);
                }
            }
        }
        __syncthreads();
    }
    if (place.inside) {
        const int64_t pixel = place.pixel(lists);
        const float opaque = 1.0f - transmittance;
        winners[pixel] = winner;
        accumulation[pixel] = opaque;
        confidence[pixel] = opaque > 0.0f ? fminf(best / opaque, 1.0f) : 0.0f;
    }
}

}  // namespace panoptic_gs::device
