// SPDX-License-Identifier: Apache-2.0
#include "core/traverse.h"
#include "rasterize/raster.h"

namespace panoptic_gs::PGS_ISA {

namespace {

template <int kChannels, bool kKeepLast>
struct Painter {
    static constexpr bool kSkipEmpty = false;

    const float* colors;
    int stride;
    uint32_t first_entry;
    Float (*image)[kChannels][kVectors];  // [kBlocks]
    Int (*lasts)[kVectors];               // [kBlocks]

    Float color[kChannels][kVectors];
    Int last[kVectors];
    float values[kBatch][kChannels];  // of the batch

    __attribute__((always_inline)) void begin_batch(const Batch& batch) {
        for (int slot = 0; slot < batch.size; ++slot) {
            const float* from = colors + static_cast<int64_t>(batch.rank[slot]) * stride;
            for (int c = 0; c < kChannels; ++c) values[slot][c] = from[c];
        }
    }
    __attribute__((always_inline)) void begin_block(int block) {
        for (int c = 0; c < kChannels; ++c)
            for (int i = 0; i < kVectors; ++i) color[c][i] = image[block][c][i];
        if constexpr (kKeepLast)
            for (int i = 0; i < kVectors; ++i) last[i] = lasts[block][i];
    }
    __attribute__((always_inline)) void blend(const Batch& batch, int slot, uint32_t entry,
                                              const Float (&weight)[kVectors], const Mask (&hit)[kVectors]) {
        (void)batch;
        for (int c = 0; c < kChannels; ++c) {
            const Float value = splat(values[slot][c]);
            for (int i = 0; i < kVectors; ++i) color[c][i] = fma(weight[i], value, color[c][i]);
        }
        if constexpr (kKeepLast) {
            const Int position = splat_int(static_cast<int32_t>(entry - first_entry));
            for (int i = 0; i < kVectors; ++i) last[i] = select(hit[i], position, last[i]);
        }
    }
    __attribute__((always_inline)) void end_block(int block) {
        for (int c = 0; c < kChannels; ++c)
            for (int i = 0; i < kVectors; ++i) image[block][c][i] = color[c][i];
        if constexpr (kKeepLast)
            for (int i = 0; i < kVectors; ++i) lasts[block][i] = last[i];
    }
};

template <int kChannels, bool kKeepLast>
void paint(const PaintJob& job, int tile) {
    const View& view = *job.view;
    alignas(64) Float image[kBlocks][kChannels][kVectors];
    alignas(64) Int lasts[kBlocks][kVectors];
    for (int block = 0; block < kBlocks; ++block) {
        for (int c = 0; c < kChannels; ++c)
            for (int i = 0; i < kVectors; ++i) image[block][c][i] = splat(0.0f);
        for (int i = 0; i < kVectors; ++i) lasts[block][i] = splat_int(-1);
    }
    Painter<kChannels, kKeepLast> painter;
    painter.colors = job.colors;
    painter.stride = job.stride;
    painter.first_entry = view.tile_offsets[tile];
    painter.image = image;
    painter.lasts = lasts;
    BlockState state;
    traverse_tile(view, tile, state, painter);

    for (int block = 0; block < kBlocks; ++block) {
        alignas(64) float planes[kChannels][kBlockPixels];
        alignas(64) float transmittance[kBlockPixels];
        for (int i = 0; i < kVectors; ++i) {
            store(transmittance + i * kLanes, state.transmittance[block][i]);
            for (int c = 0; c < kChannels; ++c) {
                Float value = image[block][c][i];
                if (job.background != nullptr)
                    value = fma(splat(job.background[c]), state.transmittance[block][i], value);
                store(planes[c] + i * kLanes, value);
            }
        }
        if constexpr (kKeepLast) {
            const int64_t base = (static_cast<int64_t>(tile) * kBlocks + block) * kBlockPixels;
            for (int i = 0; i < kVectors; ++i) {
                store(job.state->transmittance.data() + base + i * kLanes, state.transmittance[block][i]);
                store(job.state->last.data() + base + i * kLanes, lasts[block][i]);
            }
        }
        const auto [x0, y0] = first_pixel(view, tile, block);
        const int columns = view.width - x0 < kBlock ? view.width - x0 : kBlock;
        const int rows = view.height - y0 < kBlock ? view.height - y0 : kBlock;
        for (int y = 0; y < rows; ++y) {
            const int64_t pixel = static_cast<int64_t>(y0 + y) * view.width + x0;
            float* out = job.image + pixel * job.image_channels;
            for (int x = 0; x < columns; ++x)
                for (int c = 0; c < kChannels; ++c) out[x * job.image_channels + c] = planes[c][y * kBlock + x];
            if (job.alpha != nullptr)
                for (int x = 0; x < columns; ++x) job.alpha[pixel + x] = 1.0f - transmittance[y * kBlock + x];
        }
    }
}

template <bool kKeepLast, int kChannels = 1>
void paint_channels(const PaintJob& job, int tile) {
    if constexpr (kChannels < kMaxChannels)
        if (job.channels > kChannels) return paint_channels<kKeepLast, kChannels + 1>(job, tile);
    paint<kChannels, kKeepLast>(job, tile);
}

struct PairCounter {
    static constexpr bool kSkipEmpty = false;

    PairCounts counts{0, 0};

    void begin_block(int) {}
    void end_block(int) {}
    __attribute__((always_inline)) void blend(const Batch&, int, uint32_t, const Float (&)[kVectors],
                                              const Mask (&hit)[kVectors]) {
        counts.evaluated += kBlockPixels;
        for (int i = 0; i < kVectors; ++i) counts.blended += __builtin_popcount(bits(hit[i]));
    }
};

}  // namespace

PairCounts count_tile_pairs(const View& view, int tile) {
    PairCounter counter;
    BlockState state;
    traverse_tile(view, tile, state, counter);
    return counter.counts;
}

void paint_tile(const PaintJob& job, int tile) {
    job.state != nullptr ? paint_channels<true>(job, tile) : paint_channels<false>(job, tile);
}

}  // namespace panoptic_gs::PGS_ISA
