// SPDX-License-Identifier: Apache-2.0
//
// The blending run backwards. With q = colour . dL/dpixel of a Gaussian and `behind` = sum of weight * q over the
// Gaussians behind it plus the background's share,
//
//     dL/dalpha = T * q - behind / (1 - alpha),    dL/dcolour = alpha * T * dL/dpixel,
//
// which needs one running number a pixel whatever the number of channels. The geometry's gradients are moments of
// s = alpha * dL/dalpha over pixels up to second order: within a block they are sums down the columns first.
#include "core/traverse.h"
#include "rasterize/raster.h"

namespace panoptic_gs::PGS_ISA {

namespace {

// Eight lanes, or a whole vector where vectors are shorter: what sums over a block's pixels are folded to.
#if defined(__AVX512F__) || defined(__AVX2__)
typedef float Fold __attribute__((vector_size(32)));
#else
typedef Float Fold;
#endif
constexpr int kColumnGroups = kLanes >= kBlock ? 1 : kBlock / kLanes;

#if defined(__AVX512F__)
PGS_INLINE Fold low_half(Float a) { return (Fold)_mm512_castps512_ps256(a); }
PGS_INLINE Fold high_half(Float a) { return (Fold)_mm512_extractf32x8_ps(a, 1); }
PGS_INLINE Fold fold(Float a) { return low_half(a) + high_half(a); }
#else
PGS_INLINE Fold fold(Float a) { return a; }
#endif

// out[i] += sum of r[i]'s lanes, for eight vectors.
#if defined(__AVX512F__) || defined(__AVX2__)
PGS_INLINE void add_sums(const Fold (&r)[8], float* out) {
    const __m256 a = _mm256_hadd_ps(r[0], r[1]), b = _mm256_hadd_ps(r[2], r[3]);
    const __m256 c = _mm256_hadd_ps(r[4], r[5]), d = _mm256_hadd_ps(r[6], r[7]);
    const __m256 e = _mm256_hadd_ps(a, b), f = _mm256_hadd_ps(c, d);
    const __m256 total = _mm256_add_ps(_mm256_permute2f128_ps(e, f, 0x20), _mm256_permute2f128_ps(e, f, 0x31));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_loadu_ps(out), total));
}
#else
PGS_INLINE void add_sums(const Fold (&r)[8], float* out) {
    for (int i = 0; i < 8; ++i) out[i] += (r[i][0] + r[i][1]) + (r[i][2] + r[i][3]);
}
#endif

PGS_INLINE float sum_fold(Fold a) {
    float total = 0.0f;
    constexpr int kSize = sizeof(Fold) / 4;
    for (int half = kSize / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) a[i] += a[i + half];
    return total + a[0];
}

// Sums of s times 1, row and row^2 down the columns of a block, for each column.
struct ColumnSums {
    Float plain[kColumnGroups], row[kColumnGroups], row2[kColumnGroups];
};

// The six moments about the Gaussian's mean, as vectors to be summed over lanes. (x0, y0): from there to the block's
// first pixel.
PGS_INLINE void moments(const ColumnSums& sums, float x0, float y0, Fold (&m)[8]) {
    for (int k = 0; k < 6; ++k) m[k] = Fold{};
    for (int g = 0; g < kColumnGroups; ++g) {
        Fold b0 = fold(sums.plain[g]), b1 = fold(sums.row[g]), b2 = fold(sums.row2[g]);
#if defined(__AVX512F__)
        const Fold odd = high_half(sums.plain[g]);  // the second row of each vector
        b2 += odd + 2.0f * high_half(sums.row[g]);
        b1 += odd;
#endif
        b2 += (2.0f * y0) * b1 + (y0 * y0) * b0;
        b1 += y0 * b0;
        Fold x;
        for (int lane = 0; lane < static_cast<int>(sizeof(Fold) / 4); ++lane)
            x[lane] = x0 + static_cast<float>(g * kLanes % kBlock + lane);
        m[0] += b0;
        m[1] += b0 * x;
        m[2] += b0 * x * x;
        m[3] += b1;
        m[4] += b1 * x;
        m[5] += b2;
    }
}

template <int kChannels>
struct BlockGradient {
    Float transmittance[kVectors], behind[kVectors];
    Float v_color[kChannels][kVectors];
    Int last[kVectors];
    int32_t greatest_last;
};

template <int kChannels>
PGS_INLINE void load_block(const PaintGradientJob& job, int tile, int block, BlockGradient<kChannels>& b) {
    const View& view = *job.view;
    alignas(64) float planes[kChannels][kBlockPixels] = {};
    alignas(64) float v_alpha[kBlockPixels] = {};
    const auto [x0, y0] = first_pixel(view, tile, block);
    const int columns = view.width - x0 < kBlock ? view.width - x0 : kBlock;
    const int rows = view.height - y0 < kBlock ? view.height - y0 : kBlock;
    for (int y = 0; y < rows; ++y) {
        const int64_t pixel = static_cast<int64_t>(y0 + y) * view.width + x0;
        for (int c = 0; c < kChannels; ++c) {
            if (job.v_channels[c] == nullptr) continue;
            const int step = job.v_steps[c];
            const float* in = job.v_channels[c] + pixel * step;
            for (int x = 0; x < columns; ++x) planes[c][y * kBlock + x] = in[static_cast<int64_t>(x) * step];
        }
        if (job.v_alpha != nullptr)
            for (int x = 0; x < columns; ++x) v_alpha[y * kBlock + x] = job.v_alpha[pixel + x];
    }
    const int64_t base = (static_cast<int64_t>(tile) * kBlocks + block) * kBlockPixels;
    int32_t greatest = -1;
    for (int k = 0; k < kBlockPixels; ++k) {
        const int32_t last = job.state->last[base + k];
        greatest = last > greatest ? last : greatest;
    }
    b.greatest_last = greatest;
    for (int i = 0; i < kVectors; ++i) {
        b.transmittance[i] = load(job.state->transmittance.data() + base + i * kLanes);
        b.last[i] = load(job.state->last.data() + base + i * kLanes);
        Float behind = -load(v_alpha + i * kLanes);
        for (int c = 0; c < kChannels; ++c) {
            b.v_color[c][i] = load(planes[c] + i * kLanes);
            if (job.background != nullptr) behind = fma(splat(job.background[c]), b.v_color[c][i], behind);
        }
        b.behind[i] = behind * b.transmittance[i];
    }
}

// Gaussians of one batch at one block, back to front. Adds to gradients[slot].
template <int kChannels, bool kAbsolute>
PGS_INLINE void retrace_block(const Batch& batch, const float (*colors)[kChannels], int32_t first_position, int block,
                              BlockGradient<kChannels>& b, float (*gradients)[kPairGradient], uint8_t* touched) {
    Float transmittance[kVectors], behind[kVectors];
    for (int i = 0; i < kVectors; ++i) {
        transmittance[i] = b.transmittance[i];
        behind[i] = b.behind[i];
    }
    for (int n = batch.count[block] - 1; n >= 0; --n) {
        const int slot = batch.slots[block][n];
        const int32_t position = first_position + slot;
        if (position > b.greatest_last) continue;
        const PairPowers pair = pair_powers(batch, slot, block);
        Float power[kVectors], raw[kVectors], alpha[kVectors], inverse[kVectors], weight[kVectors], q[kVectors];
        Mask hit[kVectors];
        Mask hits = {};
        const Int here = splat_int(position);
        for (int i = 0; i < kVectors; ++i) power[i] = power_at(pair, batch, slot, i);
        for (int i = 0; i < kVectors; ++i) {
            hit[i] = greater_equal(less_equal(here, b.last[i]), power[i], splat(kLog2AlphaMin));
            hits |= hit[i];
        }
        if (!any(hits)) continue;
        const float* color = colors[slot];
        ColumnSums sums = {};
        Float v_color[kChannels] = {};
        Float abs_x = {}, abs_y = {};
        exp2(power, raw);
        const bool clamped = batch.log2_opacity[slot] > batch.log2_unclamped;
        for (int i = 0; i < kVectors; ++i) alpha[i] = raw[i];
        if (clamped)
            for (int i = 0; i < kVectors; ++i) alpha[i] = min(raw[i], splat(batch.alpha_max));
        for (int i = 0; i < kVectors; ++i) inverse[i] = reciprocal(splat(1.0f) - alpha[i]);
        for (int i = 0; i < kVectors; ++i)
            transmittance[i] = select(hit[i], transmittance[i] * inverse[i], transmittance[i]);
        for (int i = 0; i < kVectors; ++i) weight[i] = zero_unless(hit[i], alpha[i] * transmittance[i]);
        for (int i = 0; i < kVectors; ++i) q[i] = splat(color[0]) * b.v_color[0][i];
        for (int c = 1; c < kChannels; ++c)
            for (int i = 0; i < kVectors; ++i) q[i] = fma(splat(color[c]), b.v_color[c][i], q[i]);
        for (int c = 0; c < kChannels; ++c)
            for (int i = 0; i < kVectors; ++i) v_color[c] = fma(weight[i], b.v_color[c][i], v_color[c]);
        if (clamped)
            for (int i = 0; i < kVectors; ++i) hit[i] = less_equal(hit[i], raw[i], splat(batch.alpha_max));
        for (int i = 0; i < kVectors; ++i) {
            const Float v_alpha = fnma(behind[i], inverse[i], transmittance[i] * q[i]);
            behind[i] = fma(weight[i], q[i], behind[i]);
            const Float s = zero_unless(hit[i], raw[i] * v_alpha);
            const int group = i % kColumnGroups;
            const float row = static_cast<float>(i * kLanes / kBlock);
            sums.plain[group] += s;
            sums.row[group] = fma(s, splat(row), sums.row[group]);
            sums.row2[group] = fma(s, splat(row * row), sums.row2[group]);
            if constexpr (kAbsolute) {
                Float u, v;
                whitened_at(pair, batch, slot, i, u, v);
                abs_x += abs(s * u);
                abs_y += abs(s * fma(splat(batch.uy[slot]), u, splat(batch.vy[slot]) * v));
            }
        }
        touched[slot] = 1;
        Fold lanes[8];
        moments(sums, static_cast<float>(block % kBlocksPerSide * kBlock) - batch.x[slot],
                static_cast<float>(block / kBlocksPerSide * kBlock) - batch.y[slot], lanes);
        if constexpr (kAbsolute) {
            constexpr float kTwoLn2 = 1.3862943611198906f;
            lanes[6] = fold(abs_x) * (kTwoLn2 * batch.ux[slot]);
            lanes[7] = fold(abs_y) * kTwoLn2;
        } else {  // room for two channels
            lanes[6] = kChannels > 0 ? fold(v_color[0]) : Fold{};
            lanes[7] = kChannels > 1 ? fold(v_color[kChannels > 1 ? 1 : 0]) : Fold{};
        }
        add_sums(lanes, gradients[slot]);
        constexpr int kDone = kAbsolute ? 0 : 2;
        if constexpr (kChannels > kDone) {
            Fold rest[8] = {};
            for (int c = kDone; c < kChannels; ++c) rest[c] = fold(v_color[c]);
            if constexpr (kChannels - kDone == 1)
                gradients[slot][kGeometry + kDone] += sum_fold(rest[kDone]);
            else
                add_sums(rest, gradients[slot] + kGeometry);
        }
    }
    for (int i = 0; i < kVectors; ++i) {
        b.transmittance[i] = transmittance[i];
        b.behind[i] = behind[i];
    }
}

template <int kChannels, bool kAbsolute>
void paint_gradient(const PaintGradientJob& job, int tile) {
    const View& view = *job.view;
    const uint32_t first = view.tile_offsets[tile], end = view.tile_offsets[tile + 1];
    __builtin_memset(job.touched + first, 0, end - first);
    BlockGradient<kChannels> blocks[kBlocks];
    int32_t greatest = -1;
    for (int block = 0; block < kBlocks; ++block) {
        if (inside_image(view, tile, block) == 0) {
            blocks[block].greatest_last = -1;
            continue;
        }
        load_block(job, tile, block, blocks[block]);
        greatest = blocks[block].greatest_last > greatest ? blocks[block].greatest_last : greatest;
    }
    alignas(64) float gradients[kBatch][kPairGradient];
    Batch batch;
    float colors[kBatch][kChannels];
    for (int32_t start = greatest < 0 ? -1 : greatest / kBatch * kBatch; start >= 0; start -= kBatch) {
        const uint32_t from = first + static_cast<uint32_t>(start);
        load_batch(view, tile, from, end - from < kBatch ? end : from + kBatch, batch);
        if (start >= kBatch) prefetch_entries(view, from - kBatch, from);
        for (int slot = 0; slot < batch.size; ++slot) {
            const float* values = job.colors + static_cast<int64_t>(batch.rank[slot]) * job.stride;
            for (int c = 0; c < kChannels; ++c) colors[slot][c] = values[c];
        }
        uint32_t alive = 0;
        for (int block = 0; block < kBlocks; ++block)
            if (blocks[block].greatest_last >= start) alive |= 1u << block;
        select_blocks(batch, alive);
        __builtin_memset(gradients, 0, sizeof gradients[0] * static_cast<size_t>(batch.size));
        for (int block = 0; block < kBlocks; ++block)
            if (alive >> block & 1u)
                retrace_block<kChannels, kAbsolute>(batch, colors, start, block, blocks[block], gradients,
                                                    job.touched + from);
        for (int slot = 0; slot < batch.size; ++slot) {
            if (!job.touched[from + static_cast<uint32_t>(slot)]) continue;
            const float* g = gradients[slot];
            float* out = job.pair_gradients + static_cast<int64_t>(from + static_cast<uint32_t>(slot)) * kPairGradient;
            for (int k = 0; k < kGeometry + kChannels; ++k) out[k] = g[k];
            if constexpr (!kAbsolute)
                for (int c = 0; c < (kChannels < 2 ? kChannels : 2); ++c) out[kGeometry + c] = g[6 + c];
        }
    }
}

template <bool kAbsolute, int kChannels = 1>
void paint_gradient_channels(const PaintGradientJob& job, int tile) {
    if constexpr (kChannels < kMaxChannels)
        if (job.channels > kChannels) return paint_gradient_channels<kAbsolute, kChannels + 1>(job, tile);
    paint_gradient<kChannels, kAbsolute>(job, tile);
}

}  // namespace

void paint_tile_gradient(const PaintGradientJob& job, int tile) {
    job.absgrad ? paint_gradient_channels<true>(job, tile) : paint_gradient_channels<false>(job, tile);
}

namespace {

PGS_INLINE void write_gradient(const GaussianGradients& out, int64_t n, const float (&geometry)[kGeometry],
                               const float* colors) {
    float* slots[kGeometry] = {out.means2d + 2 * n,
                               out.means2d + 2 * n + 1,
                               out.conics + 3 * n,
                               out.conics + 3 * n + 1,
                               out.conics + 3 * n + 2,
                               out.opacities + n,
                               nullptr,
                               nullptr};
    int count = 6;
    if (out.means2d_abs != nullptr) {
        slots[6] = out.means2d_abs + 2 * n;
        slots[7] = slots[6] + 1;
        count = 8;
    }
    for (int k = 0; k < count; ++k) *slots[k] = out.accumulate ? *slots[k] + geometry[k] : geometry[k];
    for (int k = 0; k < out.channels; ++k) {
        const ChannelGradient& color = out.colors[k];
        float& slot = color.values[n * color.stride];
        slot = color.accumulate ? slot + colors[k] : colors[k];
    }
}

}  // namespace

void clear_culled_gradients(const View& view, const GaussianGradients& out, int64_t begin, int64_t end) {
    const float zeros[kGeometry] = {};
    const float black[kMaxChannels] = {};
    for (int64_t n = begin; n < end; ++n)
        if (view.rank_of[n] < 0) write_gradient(out, n, zeros, black);
}

void sum_pair_gradients(const View& view, const float* pair_gradients, const uint8_t* touched,
                        const GaussianGradients& out, int64_t begin, int64_t end) {
    constexpr float kTwoLn2 = 1.3862943611198906f;
    constexpr uint32_t kAhead = 32;  // entries that are being fetched
    constexpr int kParts = kPairGradient / kLanes;
    const uint32_t* entries = view.rank_entries.data();
    const uint32_t all = view.rank_offsets[end];
    for (int64_t rank = begin; rank < end; ++rank) {
        const Footprint& g = view.footprints[rank];
        Float sums[kParts] = {};
        for (uint32_t e = view.rank_offsets[rank]; e < view.rank_offsets[rank + 1]; ++e) {
            if (e + kAhead < all) {
                const uint32_t later = entries[e + kAhead];
                __builtin_prefetch(pair_gradients + static_cast<int64_t>(later) * kPairGradient);
            }
            const uint32_t entry = entries[e];
            if (!touched[entry]) continue;
            const float* pair = pair_gradients + static_cast<int64_t>(entry) * kPairGradient;
            for (int k = 0; k < kParts; ++k) sums[k] += load(pair + k * kLanes);
        }
        alignas(64) float total[kPairGradient];
        for (int k = 0; k < kParts; ++k) store(total + k * kLanes, sums[k]);
        // sigma = ln 2 (u^2 + v^2) has the conic [[a, b], [b, c]]
        const float a = kTwoLn2 * g.ux * g.ux, b = kTwoLn2 * g.ux * g.uy, c = kTwoLn2 * (g.uy * g.uy + g.vy * g.vy);
        const float geometry[kGeometry] = {a * total[1] + b * total[3],
                                           b * total[1] + c * total[3],
                                           -0.5f * total[2],
                                           -total[4],
                                           -0.5f * total[5],
                                           total[0] * __builtin_exp2f(-g.log2_opacity),
                                           total[6],
                                           total[7]};
        write_gradient(out, g.id, geometry, total + kGeometry);
    }
}

}  // namespace panoptic_gs::PGS_ISA
