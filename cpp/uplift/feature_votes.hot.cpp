// SPDX-License-Identifier: Apache-2.0
// Sums of blending weight x feature for each (Gaussian, tile) pair. The caller adds the pairs of a Gaussian in order of
// tiles, so that nothing depends on threads.
#include <cstring>

#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/traversals.h"

namespace panoptic_gs::PGS_ISA {

namespace {

struct FeatureVisitor {
    static constexpr bool kSkipEmpty = true;
    const FeatureVoteArguments& arguments;
    int tile;
    const float* pixels;  // features of the block's first pixel
    Float factors[kVectors];

    inline __attribute__((always_inline)) void begin_block(int block) {
        const View& view = arguments.view;
        const auto [x0, y0] = first_pixel(view, tile, block);
        pixels =
            arguments.features + (static_cast<int64_t>(y0) * view.width + x0) * arguments.channels + arguments.first;
        if (arguments.weights != nullptr) load_pixels(view, arguments.weights, tile, block, factors);
    }

    inline __attribute__((always_inline)) void blend(const Batch&, int, uint32_t entry,
                                                     const Float (&blended)[kVectors], const Mask (&hit)[kVectors]) {
        float weight[kBlockPixels];
        uint64_t hits = 0;
        Float all = splat(0.0f);
        for (int i = 0; i < kVectors; ++i) {
            const Float w = arguments.weights != nullptr ? blended[i] * factors[i] : blended[i];
            all += w;
            store(weight + i * kLanes, w);
            hits |= static_cast<uint64_t>(bits(hit[i])) << (i * kLanes);
        }
        if (arguments.totals != nullptr) arguments.totals[entry] += sum(all);
        const int64_t row = static_cast<int64_t>(arguments.view.width) * arguments.channels;
        float* sums = arguments.sums + static_cast<int64_t>(entry) * arguments.count;
        int64_t c = 0;
        for (; c + 4 * kLanes <= arguments.count; c += 4 * kLanes) add_channels<4>(sums + c, c, row, hits, weight);
        for (; c + kLanes <= arguments.count; c += kLanes) add_channels<1>(sums + c, c, row, hits, weight);
        for (uint64_t left = hits; c < arguments.count && left != 0; left &= left - 1) {
            const int k = __builtin_ctzll(left);
            const float* pixel = pixels + k / kBlock * row + k % kBlock * arguments.channels;
            for (int64_t rest = c; rest < arguments.count; ++rest) sums[rest] += weight[k] * pixel[rest];
        }
    }

    inline __attribute__((always_inline)) void end_block(int) {}

    template <int kCount>
    inline __attribute__((always_inline)) void add_channels(float* sums, int64_t first, int64_t row, uint64_t hits,
                                                            const float* weight) {
        Float total[kCount];
        for (int j = 0; j < kCount; ++j) total[j] = load(sums + j * kLanes);
        for (; hits != 0; hits &= hits - 1) {
            const int k = __builtin_ctzll(hits);
            const float* pixel = pixels + k / kBlock * row + k % kBlock * arguments.channels + first;
            const Float w = splat(weight[k]);
            for (int j = 0; j < kCount; ++j) total[j] = fma(w, load(pixel + j * kLanes), total[j]);
        }
        for (int j = 0; j < kCount; ++j) store(sums + j * kLanes, total[j]);
    }
};

}  // namespace

void add_feature_votes(const FeatureVoteArguments& arguments) {
    const View& view = arguments.view;
    parallel_for(view.tiles(), arguments.threads, [&](int64_t index, int) {
        const int tile = static_cast<int>(index);
        const int64_t first = view.tile_offsets[tile], end = view.tile_offsets[tile + 1];
        std::memset(arguments.sums + first * arguments.count, 0,
                    static_cast<size_t>((end - first) * arguments.count) * sizeof(float));
        if (arguments.totals != nullptr)
            std::memset(arguments.totals + first, 0, static_cast<size_t>(end - first) * sizeof(float));
        FeatureVisitor visitor{arguments, tile, nullptr, {}};
        BlockState state;
        traverse_tile(view, tile, state, visitor);
    });
}

}  // namespace panoptic_gs::PGS_ISA
