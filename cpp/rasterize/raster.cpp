// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "core/thread_pool.h"
#include "rasterize/frame.h"
#include "rasterize/harmonics.h"

namespace panoptic_gs {

namespace {

constexpr int64_t kRankChunk = 1024;

// Several sources side by side, in order of rank: what a traversal reads.
void gather_colors(const View& view, const std::vector<ColorSource>& sources, int channels, int threads, float* out) {
    const int64_t visible = view.visible();
    parallel_for((visible + kRankChunk - 1) / kRankChunk, threads, [&](int64_t chunk, int) {
        for (int64_t rank = chunk * kRankChunk; rank < std::min((chunk + 1) * kRankChunk, visible); ++rank) {
            float* to = out + rank * channels;
            for (const ColorSource& source : sources) {
                const float* from = source.values + static_cast<int64_t>(view.footprints[rank].id) * source.channels;
                for (int c = 0; c < source.channels; ++c) *to++ = from[c];  // too few to call memmove for
            }
        }
    });
}

int total_channels(const std::vector<ColorSource>& sources) {
    int channels = 0;
    for (const ColorSource& source : sources) channels += source.channels;
    return channels;
}

// Calls function(first channel, channels) for passes of about equal size.
template <class Function>
void for_each_pass(int channels, Function&& function) {
    const int passes = (channels + kMaxChannels - 1) / kMaxChannels;
    for (int pass = 0; pass < passes; ++pass) {
        const int first = channels * pass / passes;
        function(first, channels * (pass + 1) / passes - first);
    }
}

}  // namespace

void paint(const View& view, const std::vector<ColorSource>& sources, const float* background, int threads,
           float* image, float* alpha, PixelState* state) {
    const int channels = total_channels(sources);
    Buffer<float> colors(static_cast<size_t>(view.visible()) * channels);
    gather_colors(view, sources, channels, threads, colors.data());
    if (state != nullptr) {
        const size_t pixels = static_cast<size_t>(view.tiles()) * kTile * kTile;
        state->transmittance.allocate(pixels);
        state->last.allocate(pixels);
    }
    for_each_pass(channels, [&](int first, int count) {
        PaintJob job{&view,
                     colors.data() + first,
                     count,
                     channels,
                     background ? background + first : nullptr,
                     image + first,
                     channels,
                     first == 0 ? alpha : nullptr,
                     first == 0 ? state : nullptr};
        parallel_for(view.tiles(), threads,
                     [&](int64_t tile, int) { PGS_DISPATCH(paint_tile, job, static_cast<int>(tile)); });
    });
}

PairCounts count_pairs(const View& view, int threads) {
    std::vector<PairCounts> counts(static_cast<size_t>(view.tiles()));
    parallel_for(view.tiles(), threads, [&](int64_t tile, int) {
        counts[tile] = PGS_DISPATCH(count_tile_pairs, view, static_cast<int>(tile));
    });
    PairCounts total{0, 0};
    for (const PairCounts& tile : counts) {
        total.evaluated += tile.evaluated;
        total.blended += tile.blended;
    }
    return total;
}

void find_crossings(const View& view, float share, int threads, int32_t* out) {
    parallel_for(view.tiles(), threads,
                 [&](int64_t tile, int) { PGS_DISPATCH(find_crossing, view, share, out, static_cast<int>(tile)); });
}

void paint_gradient(const View& view, const std::vector<ColorSource>& sources, const float* background,
                    const PixelState& state, const std::vector<ImageGradient>& v_images, const float* v_alpha,
                    int threads, GaussianGradients out, const std::vector<ColorGradient>& v_sources) {
    const int channels = total_channels(sources);
    Buffer<float> colors(static_cast<size_t>(view.visible()) * channels);
    gather_colors(view, sources, channels, threads, colors.data());
    Buffer<float> pairs(static_cast<size_t>(view.intersections()) * kPairGradient);
    Buffer<uint8_t> touched(static_cast<size_t>(view.intersections()));
    std::vector<ChannelGradient> targets;
    for (const ColorGradient& v : v_sources)
        for (int c = 0; c < v.channels; ++c) targets.push_back({v.values + c, v.channels, v.accumulate});
    std::vector<std::pair<const float*, int>> v_channels;
    for (const ImageGradient& v : v_images)
        for (int c = 0; c < v.channels; ++c) v_channels.push_back({v.values ? v.values + c : nullptr, v.channels});
    for_each_pass(channels, [&](int first, int count) {
        PaintGradientJob job{&view,
                             colors.data() + first,
                             count,
                             channels,
                             background ? background + first : nullptr,
                             {},
                             {},
                             first == 0 ? v_alpha : nullptr,
                             &state,
                             out.means2d_abs != nullptr,
                             pairs.data(),
                             touched.data()};
        for (int c = 0; c < count; ++c) std::tie(job.v_channels[c], job.v_steps[c]) = v_channels[first + c];
        parallel_for(view.tiles(), threads,
                     [&](int64_t tile, int) { PGS_DISPATCH(paint_tile_gradient, job, static_cast<int>(tile)); });
        out.accumulate = first > 0;
        out.channels = count;
        std::copy_n(targets.begin() + first, count, out.colors);
        const int64_t culled_chunks = (view.count + kProjectionChunk - 1) / kProjectionChunk;
        const int64_t rank_chunks = (view.visible() + kRankChunk - 1) / kRankChunk;
        parallel_for(rank_chunks + culled_chunks, threads, [&](int64_t chunk, int) {
            if (chunk < rank_chunks)
                PGS_DISPATCH(sum_pair_gradients, view, pairs.data(), touched.data(), out, chunk * kRankChunk,
                             std::min((chunk + 1) * kRankChunk, view.visible()));
            else
                PGS_DISPATCH(clear_culled_gradients, view, out, (chunk - rank_chunks) * kProjectionChunk,
                             std::min((chunk - rank_chunks + 1) * kProjectionChunk, view.count));
        });
    });
}

void project_gradient(const Gaussians& gaussians, const ProjectionConstants& constants,
                      const ProjectionGradientJob& job, int threads, float* v_viewmat) {
    const int64_t chunks = (gaussians.count + kProjectionChunk - 1) / kProjectionChunk;
    std::vector<float> poses(v_viewmat != nullptr ? static_cast<size_t>(chunks) * 12 : 0, 0.0f);
    parallel_for(chunks, threads, [&](int64_t chunk, int) {
        PGS_DISPATCH(project_gradient_chunk, gaussians, constants, job, chunk * kProjectionChunk,
                     std::min((chunk + 1) * kProjectionChunk, gaussians.count),
                     v_viewmat != nullptr ? poses.data() + chunk * 12 : nullptr);
    });
    for (size_t i = 0; i < poses.size(); ++i) v_viewmat[i % 12] += poses[i];
}

void harmonics(const HarmonicsJob& job, int threads) {
    const int64_t chunks = (job.count + kProjectionChunk - 1) / kProjectionChunk;
    parallel_for(chunks, threads, [&](int64_t chunk, int) {
        PGS_DISPATCH(harmonics_chunk, job, chunk * kProjectionChunk,
                     std::min((chunk + 1) * kProjectionChunk, job.count));
    });
}

void harmonics_gradient(const HarmonicsJob& job, int threads, float* v_centre) {
    const int64_t chunks = (job.count + kProjectionChunk - 1) / kProjectionChunk;
    std::vector<float> centres(static_cast<size_t>(chunks) * 3, 0.0f);
    parallel_for(chunks, threads, [&](int64_t chunk, int) {
        PGS_DISPATCH(harmonics_gradient_chunk, job, chunk * kProjectionChunk,
                     std::min((chunk + 1) * kProjectionChunk, job.count), centres.data() + chunk * 3);
    });
    for (size_t i = 0; i < centres.size(); ++i) v_centre[i % 3] += centres[i];
}

}  // namespace panoptic_gs
