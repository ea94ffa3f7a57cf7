// SPDX-License-Identifier: Apache-2.0
//
// The front-to-back traversal of one tile, for hot sources. It does all the blending arithmetic and hands each
// (Gaussian, 8 x 8 block) pair with its 64 blending weights to a visitor:
//
//     struct Visitor {
//         void begin_block(int block);     // load what is kept in registers while a block is blended
//         void blend(const Batch& batch, int slot, uint32_t entry,
//                    const Float (&weight)[kVectors], const Mask (&hit)[kVectors]);
//         void end_block(int block);       // store it again
//         void begin_batch(const Batch& batch);  // optional: fetch what belongs to the batch's Gaussians
//         void end_batch(const Batch& batch);    // optional: all its pairs are blended
//         uint64_t wanted(int block);            // optional: bit k is set where pixel k of the block is asked for
//     };
//     parallel_for(view.tiles(), threads, [&](int64_t tile, int) {
//         Visitor visitor(...);
//         BlockState state;
//         traverse_tile(view, tile, state, visitor);
//         // state.transmittance[block][vector]: what is left behind the last Gaussian
//     });
//
// Vector i of a block holds pixels [i * kLanes, (i + 1) * kLanes) of the block, row major (view.h); weights are zero
// where `hit` is not set (not blended, outside the image). `batch.rank[slot]` is the Gaussian's rank in
// view.footprints, `entry` the pair's position in view.tile_ranks. Pairs of a block come in depth order; a tile's
// blocks take turns every kBatch Gaussians, so state lives in the visitor between end_block and begin_block.
// Pairs without a single blended pixel are skipped when Visitor::kSkipEmpty, else their weights are all zero.
//
// The visitor is inlined; arrays in it with constant indices become registers.
#pragma once

#include "core/blend.h"
#include "core/simd.h"
#include "core/view.h"

namespace panoptic_gs::PGS_ISA {

constexpr int kVectors = kBlockPixels / kLanes;  // of a block
constexpr int kBatch = 64;                       // Gaussians of a tile that are culled against its blocks at a time
constexpr int kRowsPerVector = kLanes >= kBlock ? kLanes / kBlock : 1;

// Column and row, within the block, of the pixels of a block's vector i.
PGS_INLINE Float block_column(int i) {
    Float x;
    for (int lane = 0; lane < kLanes; ++lane) x[lane] = static_cast<float>((i * kLanes + lane) % kBlock);
    return x;
}
PGS_INLINE Float block_row(int i) {
    Float y;
    for (int lane = 0; lane < kLanes; ++lane) y[lane] = static_cast<float>((i * kLanes + lane) / kBlock);
    return y;
}

// Consecutive Gaussians of a tile: whitened coordinates as linear functions of the pixel, and who touches which block.
struct alignas(64) Batch {
    float x[kBatch], y[kBatch];  // mean, relative to the centre of the tile's first pixel
    float ux[kBatch], uy[kBatch], vy[kBatch], log2_opacity[kBatch];
    float u_step[kBatch], v_step[kBatch];                        // of u and v from one vector of a block to the next
    float u_origin[kBlocks][kBatch], v_origin[kBlocks][kBatch];  // u and v at the block's first pixel
    uint32_t rank[kBatch];
    int32_t slots[kBlocks][kBatch];  // of the Gaussians that reach the block, ascending
    int count[kBlocks];
    int size;
    uint32_t first_entry;
    float alpha_max, log2_unclamped;
};

PGS_INLINE void load_batch(const View& view, int tile, uint32_t first, uint32_t last, Batch& batch) {
    const float origin_x = static_cast<float>(tile % view.tiles_x * kTile) + kPixelCentre;
    const float origin_y = static_cast<float>(tile / view.tiles_x * kTile) + kPixelCentre;
    const uint32_t* ranks = view.tile_ranks.data();
    const Footprint* footprints = view.footprints.data();
    const int size = static_cast<int>(last - first);
    batch.size = size;
    batch.first_entry = first;
    batch.alpha_max = view.alpha_max;
    batch.log2_unclamped = log2_unclamped(view.alpha_max);
    for (int i = 0; i < size; ++i) {
        const uint32_t rank = ranks[first + i];
        const Footprint& g = footprints[rank];
        batch.rank[i] = rank;
        batch.x[i] = g.x - origin_x;
        batch.y[i] = g.y - origin_y;
        batch.ux[i] = g.ux;
        batch.uy[i] = g.uy;
        batch.vy[i] = g.vy;
        batch.log2_opacity[i] = g.log2_opacity;
        batch.u_step[i] = g.uy * kRowsPerVector;
        batch.v_step[i] = g.vy * kRowsPerVector;
    }
    for (int i = size; i < (size + kLanes - 1) / kLanes * kLanes; ++i) {
        batch.x[i] = batch.y[i] = 0.0f;
        batch.ux[i] = batch.uy[i] = batch.vy[i] = 1.0f;
        batch.log2_opacity[i] = -1000.0f;
    }
}

// Starts fetching the footprints of entries [first, last), which lie all over memory.
PGS_INLINE void prefetch_entries(const View& view, uint32_t first, uint32_t last) {
    const uint32_t* ranks = view.tile_ranks.data();
    const Footprint* footprints = view.footprints.data();
    for (uint32_t i = first; i < last; ++i) __builtin_prefetch(footprints + ranks[i]);
}

// The largest exponent that a Gaussian reaches over the pixel centres [x0, x1] x [y0, y1] (relative to its mean), plus
// a margin for rounding. The maximum lies on a side that faces the mean: try the nearest column and the nearest row.
PGS_INLINE Float greatest_power(Float x0, Float x1, Float y0, Float y1, Float ux, Float uy, Float vy, Float tilt_x,
                                Float tilt_y, Float log2_opacity) {
    const Float zero = splat(0.0f);
    const Float near_x = min(max(zero, x0), x1), near_y = min(max(zero, y0), y1);
    const Float best_y = min(max(tilt_y * near_x, y0), y1);  // along the nearest column
    const Float best_x = min(max(tilt_x * near_y, x0), x1);  // along the nearest row
    const Float u1 = fma(ux, near_x, uy * best_y), v1 = vy * best_y;
    const Float u2 = fma(ux, best_x, uy * near_y), v2 = vy * near_y;
    const Float distance = min(fma(u1, u1, v1 * v1), fma(u2, u2, v2 * v2));
    return fnma(distance, splat(0.9999f), log2_opacity + splat(1e-3f));
}

// `alive`: bit b is set where block b still has pixels to blend.
PGS_INLINE void select_blocks(Batch& batch, uint32_t alive) {
    for (int block = 0; block < kBlocks; ++block) batch.count[block] = 0;
    for (int i = 0; i < batch.size; i += kLanes) {
        const Float x = load(batch.x + i), y = load(batch.y + i);
        const Float ux = load(batch.ux + i), uy = load(batch.uy + i), vy = load(batch.vy + i);
        const Float log2_opacity = load(batch.log2_opacity + i);
        const Float tilt_x = -uy / ux, tilt_y = -(ux * uy) / fma(uy, uy, vy * vy);
        for (int block = 0; block < kBlocks; ++block) {
            if (!(alive >> block & 1u)) continue;
            const Float x0 = splat(static_cast<float>(block % kBlocksPerSide * kBlock)) - x;
            const Float y0 = splat(static_cast<float>(block / kBlocksPerSide * kBlock)) - y;
            const Float span = splat(static_cast<float>(kBlock - 1));
            const Float power = greatest_power(x0, x0 + span, y0, y0 + span, ux, uy, vy, tilt_x, tilt_y, log2_opacity);
            store(batch.u_origin[block] + i, fma(ux, x0, uy * y0));
            store(batch.v_origin[block] + i, vy * y0);
            uint32_t reached = bits(greater_equal(power, splat(kLog2AlphaMin)));
            int32_t* slots = batch.slots[block];
            int count = batch.count[block];
#if defined(__AVX512F__)
            const __m512i numbers = _mm512_add_epi32(
                _mm512_set1_epi32(i), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
            const __m512i packed = _mm512_maskz_compress_epi32(static_cast<__mmask16>(reached), numbers);
            if (count + kLanes <= kBatch)
                _mm512_storeu_si512(slots + count, packed);
            else
                _mm512_mask_storeu_epi32(slots + count, static_cast<__mmask16>((1u << (kBatch - count)) - 1u), packed);
            count += __builtin_popcount(reached);
#else
            for (; reached != 0; reached &= reached - 1) slots[count++] = i + __builtin_ctz(reached);
#endif
            batch.count[block] = count;
        }
    }
}

// A Gaussian at the pixels of a block: gives the exponents of the block's vectors one after another.
struct PairPowers {
    Float u, v, u_step, v_step, log2_opacity;
};

PGS_INLINE PairPowers pair_powers(const Batch& batch, int slot, int block) {
    const Float u = fma(splat(batch.uy[slot]), block_row(0), splat(batch.u_origin[block][slot]));
    return {fma(splat(batch.ux[slot]), block_column(0), u),
            fma(splat(batch.vy[slot]), block_row(0), splat(batch.v_origin[block][slot])), splat(batch.u_step[slot]),
            splat(batch.v_step[slot]), splat(batch.log2_opacity[slot])};
}

// The whitened offsets at vector i.
PGS_INLINE void whitened_at(const PairPowers& pair, const Batch& batch, int slot, int i, Float& u, Float& v) {
    const Float row = splat(static_cast<float>(i * kLanes / kBlock / kRowsPerVector));
    u = fma(pair.u_step, row, pair.u);
    v = fma(pair.v_step, row, pair.v);
    if constexpr (kLanes < kBlock)  // several vectors a row
        u = fma(splat(batch.ux[slot]), splat(static_cast<float>(i * kLanes % kBlock)), u);
}

// The exponent at vector i. Forward and backward passes must agree on every comparison bit for bit, so both come here.
PGS_INLINE Float power_at(const PairPowers& pair, const Batch& batch, int slot, int i) {
    Float u, v;
    whitened_at(pair, batch, slot, i, u, v);
    return power_from_whitened(u, v, pair.log2_opacity);
}

struct alignas(64) BlockState {
    Float transmittance[kBlocks][kVectors];
    Mask live[kBlocks][kVectors];
    uint32_t alive;  // bit b: block b has a live pixel
};

struct Pixel {
    int x, y;
};

// The upper left pixel of a block, which may lie outside of the image.
PGS_INLINE Pixel first_pixel(const View& view, int tile, int block) {
    return {tile % view.tiles_x * kTile + block % kBlocksPerSide * kBlock,
            tile / view.tiles_x * kTile + block / kBlocksPerSide * kBlock};
}

PGS_INLINE uint64_t inside_image(const View& view, int tile, int block) {
    const auto [x0, y0] = first_pixel(view, tile, block);
    const int columns = view.width - x0, rows = view.height - y0;
    if (columns <= 0 || rows <= 0) return 0;
    const uint64_t row = columns >= kBlock ? 0xffu : (1u << columns) - 1u;
    uint64_t all = 0;
    for (int i = 0; i < (rows < kBlock ? rows : kBlock); ++i) all |= row << (i * kBlock);
    return all;
}

template <class Visitor>
PGS_INLINE auto wanted_pixels(Visitor& visitor, int block, int) -> decltype(visitor.wanted(block)) {
    return visitor.wanted(block);
}
template <class Visitor>
PGS_INLINE uint64_t wanted_pixels(Visitor&, int, long) {
    return ~uint64_t{0};
}

template <class Visitor>
PGS_INLINE void begin_tile(const View& view, int tile, BlockState& state, Visitor& visitor) {
    state.alive = 0;
    for (int block = 0; block < kBlocks; ++block) {
        const uint64_t inside = inside_image(view, tile, block) & wanted_pixels(visitor, block, 0);
        if (inside != 0) state.alive |= 1u << block;
        for (int i = 0; i < kVectors; ++i) {
            state.transmittance[block][i] = splat(1.0f);
            state.live[block][i] = mask_from_bits(static_cast<uint32_t>(inside >> (i * kLanes)) &
                                                  static_cast<uint32_t>((uint64_t{1} << kLanes) - 1));
        }
    }
}

template <class Visitor>
PGS_INLINE void traverse_block(const Batch& batch, int block, BlockState& state, Visitor& visitor) {
    Float transmittance[kVectors];
    Mask live[kVectors];
    for (int i = 0; i < kVectors; ++i) {
        transmittance[i] = state.transmittance[block][i];
        live[i] = state.live[block][i];
    }
    visitor.begin_block(block);
    for (int n = 0; n < batch.count[block]; ++n) {
        const int slot = batch.slots[block][n];
        const PairPowers pair = pair_powers(batch, slot, block);
        Float power[kVectors], alpha[kVectors], next[kVectors], weight[kVectors];
        Mask hit[kVectors];
        for (int i = 0; i < kVectors; ++i) power[i] = power_at(pair, batch, slot, i);
        exp2(power, alpha);
        if (batch.log2_opacity[slot] > batch.log2_unclamped)
            for (int i = 0; i < kVectors; ++i) alpha[i] = min(alpha[i], splat(batch.alpha_max));
        for (int i = 0; i < kVectors; ++i) next[i] = next_transmittance(alpha[i], transmittance[i]);
        Mask hits = {}, remaining = {};
        for (int i = 0; i < kVectors; ++i) {
            const Mask reached = greater_equal(live[i], power[i], splat(kLog2AlphaMin));
            const Mask stop = less_equal(reached, next[i], splat(kTransmittanceMin));
            live[i] = and_not(live[i], stop);
            hit[i] = and_not(reached, stop);
            weight[i] = zero_unless(hit[i], alpha[i] * transmittance[i]);
            transmittance[i] = select(hit[i], next[i], transmittance[i]);
            hits |= hit[i];
            remaining |= live[i];
        }
        if (!Visitor::kSkipEmpty || any(hits))
            visitor.blend(batch, slot, batch.first_entry + static_cast<uint32_t>(slot), weight, hit);
        if (!any(remaining)) {
            state.alive &= ~(1u << block);
            break;
        }
    }
    visitor.end_block(block);
    for (int i = 0; i < kVectors; ++i) {
        state.transmittance[block][i] = transmittance[i];
        state.live[block][i] = live[i];
    }
}

template <class Visitor>
PGS_INLINE auto begin_batch(Visitor& visitor, const Batch& batch, int) -> decltype(visitor.begin_batch(batch)) {
    visitor.begin_batch(batch);
}
template <class Visitor>
PGS_INLINE void begin_batch(Visitor&, const Batch&, long) {}

template <class Visitor>
PGS_INLINE auto end_batch(Visitor& visitor, const Batch& batch, int) -> decltype(visitor.end_batch(batch)) {
    visitor.end_batch(batch);
}
template <class Visitor>
PGS_INLINE void end_batch(Visitor&, const Batch&, long) {}

template <class Visitor>
PGS_INLINE void traverse_tile(const View& view, int tile, BlockState& state, Visitor& visitor) {
    begin_tile(view, tile, state, visitor);
    Batch batch;
    const uint32_t end = view.tile_offsets[tile + 1];
    for (uint32_t first = view.tile_offsets[tile]; first < end && state.alive != 0; first += kBatch) {
        const uint32_t last = end - first < kBatch ? end : first + kBatch;
        load_batch(view, tile, first, last, batch);
        prefetch_entries(view, last, end - last < kBatch ? end : last + kBatch);
        select_blocks(batch, state.alive);
        begin_batch(visitor, batch, 0);
        for (int block = 0; block < kBlocks; ++block)
            if (state.alive >> block & 1u) traverse_block(batch, block, state, visitor);
        end_batch(visitor, batch, 0);
    }
}

// The pixels of a block in a map [H, W], zero outside of the image.
PGS_INLINE void load_pixels(const View& view, const float* map, int tile, int block, Float (&pixels)[kVectors]) {
    const auto [x0, y0] = first_pixel(view, tile, block);
    float values[kBlockPixels];
    for (int k = 0; k < kBlockPixels; ++k) {
        const int x = x0 + k % kBlock, y = y0 + k / kBlock;
        values[k] = x < view.width && y < view.height ? map[static_cast<int64_t>(y) * view.width + x] : 0.0f;
    }
    for (int i = 0; i < kVectors; ++i) pixels[i] = load(values + i * kLanes);
}

}  // namespace panoptic_gs::PGS_ISA
