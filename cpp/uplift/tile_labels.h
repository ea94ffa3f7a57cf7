// SPDX-License-Identifier: Apache-2.0
// The labels of a tile's pixels, numbered in order of appearance, and how the weights of a block's pixels are added up by
// label. For hot sources.
//
// A group of a block's labels, usually all of them, shares the lanes of one vector: each label gets some that follow one
// another. Gathers bring the block's pixels there: a gather takes pixels of one vector to lanes of their labels, and the
// sum of all gathers is left with the sums of a few lanes for each label. Where vectors are short, or permuting them is
// slow, a plain list of each label's pixels does better.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/simd.h"
#include "core/traverse.h"
#include "core/view.h"

namespace panoptic_gs::PGS_ISA {

constexpr int kTilePixels = kBlocks * kBlockPixels;
constexpr int kMostSteps = __builtin_ctz(kLanes);
constexpr bool kGathers = kLanes >= 8;
constexpr uint32_t kAllLanes = (1u << kLanes) - 1u;

struct LabelGroup {
    int last_gather, last_target;
    // In step s, lanes add the lane 2^s behind them, where it has the same label. Then the first lane has the sum.
    int steps;
    Mask adds[kMostSteps];
};

struct LabelGathers {
    int groups;
    LabelGroup group[kVectors];
    // Gathers, group by group. Lanes that they bring nothing to hold anything.
    Mask gather_to[kBlockPixels];
    int gather_vector[kBlockPixels];
    alignas(64) int32_t gather_from[kBlockPixels][kLanes];
    // Where sums belong, group by group: from lanes of the group to those of a vector of the tile's row of sums.
    Mask target_to[kBlockPixels];
    int target_at[kBlockPixels];
    alignas(64) int32_t target_from[kBlockPixels][kLanes];
};

struct LabelPixels {
    int number[kBlockPixels];     // of each label
    uint8_t end[kBlockPixels];    // its last pixel in the list, and one more
    uint8_t pixel[kBlockPixels];  // label by label
};

struct BlockLabels {
    int count;
    int only;  // number of the label, if count is 1
    std::conditional_t<kGathers, LabelGathers, LabelPixels> of_pixels;
};

struct TileLabels {
    int count;
    int32_t label[kTilePixels + kLanes];  // by number
    BlockLabels block[kBlocks];
};

// While a tile's labels are collected.
struct LabelTable {
    static constexpr int kPlaces = 2 * kTilePixels;
    static constexpr int kShift = 32 - __builtin_ctz(kPlaces);
    static_assert((kPlaces & (kPlaces - 1)) == 0);
    int16_t number[kPlaces];
    // Of the labels of the block at hand.
    int of_label[kBlockPixels];
    uint64_t pixels[kBlockPixels];  // bit k: pixel k has it
};

PGS_INLINE int number_of(LabelTable& table, TileLabels& labels, int32_t label) {
    uint32_t at = (static_cast<uint32_t>(label) * 2654435769u) >> LabelTable::kShift;
    while (table.number[at] >= 0 && labels.label[table.number[at]] != label) at = (at + 1) & (LabelTable::kPlaces - 1);
    if (table.number[at] < 0) {
        table.number[at] = static_cast<int16_t>(labels.count);
        labels.label[labels.count++] = label;
    }
    return table.number[at];
}

// Finds the labels of a block, and of each pixel which one it is.
PGS_INLINE int group_pixels(const View& view, const int32_t* map, int tile, int block, LabelTable& table,
                            TileLabels& labels) {
    const int x0 = tile % view.tiles_x * kTile + block % kBlocksPerSide * kBlock;
    const int y0 = tile / view.tiles_x * kTile + block / kBlocksPerSide * kBlock;
    if (x0 >= view.width || y0 >= view.height) return 0;
    // Pixels outside of the image repeat the nearest one; their weight is 0.
    int32_t label[kBlockPixels];
    for (int row = 0; row < kBlock; ++row) {
        const int y = y0 + row < view.height ? y0 + row : view.height - 1;
        const int32_t* of_row = map + static_cast<int64_t>(y) * view.width + x0;
        if (x0 + kBlock <= view.width) {
            std::memcpy(label + row * kBlock, of_row, kBlock * sizeof *label);
        } else {
            for (int i = 0; i < kBlock; ++i) label[row * kBlock + i] = of_row[x0 + i < view.width ? i : view.width - 1 - x0];
        }
    }
    Int here[kVectors];
    for (int i = 0; i < kVectors; ++i) here[i] = load(label + i * kLanes);
    int count = 0;
    for (uint64_t rest = ~uint64_t{0}; rest != 0; ++count) {
        const int32_t one = label[__builtin_ctzll(rest)];
        uint64_t same = 0;
        for (int i = 0; i < kVectors; ++i)
            same |= static_cast<uint64_t>(bits(equal(here[i], splat_int(one)))) << (i * kLanes);
        rest &= ~same;
        table.pixels[count] = same;
        table.of_label[count] = number_of(table, labels, one);
    }
    return count;
}

PGS_INLINE uint32_t pixels_of_vector(uint64_t pixels, int vector) {
    return static_cast<uint32_t>(pixels >> (vector * kLanes)) & kAllLanes;
}

// Gives each of a group's labels as many lanes as let the fewest gathers do.
PGS_INLINE void share_lanes(const LabelTable& table, int first, int count, int (&lanes)[kLanes]) {
    int most[kLanes];  // pixels of a vector
    for (int i = 0; i < count; ++i) {
        most[i] = 0;
        for (int vector = 0; vector < kVectors; ++vector) {
            const int pixels = __builtin_popcount(pixels_of_vector(table.pixels[first + i], vector));
            most[i] = pixels > most[i] ? pixels : most[i];
        }
    }
    for (int rounds = 1;; ++rounds) {
        int all = 0;
        for (int i = 0; i < count; ++i) {
            lanes[i] = rounds == 1 ? most[i] : rounds == 2 ? (most[i] + 1) / 2 : (most[i] + rounds - 1) / rounds;
            all += lanes[i];
        }
        if (all <= kLanes) return;
    }
}

// Moves the first `most` of a vector's pixels to `out`; returns how many there were.
PGS_INLINE int take_pixels(uint32_t& pixels, int most, int32_t* out) {
#if defined(__AVX512F__)
    const uint32_t taken = _pdep_u32((1u << most) - 1u, pixels);
    const __m512i all = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const int count = __builtin_popcount(taken);
    _mm512_mask_storeu_epi32(out, static_cast<__mmask16>((1u << count) - 1u),
                             _mm512_maskz_compress_epi32(static_cast<__mmask16>(taken), all));
    pixels &= ~taken;
    return count;
#else
    int count = 0;
    for (; count < most && pixels != 0; ++count, pixels &= pixels - 1) out[count] = __builtin_ctz(pixels);
    return count;
#endif
}

PGS_INLINE void plan_group(const LabelTable& table, int first, int count, LabelGathers& block, int& gathers, int& targets,
                           LabelGroup& group) {
    int lanes[kLanes], first_lane[kLanes];
    share_lanes(table, first, count, lanes);
    int longest = 0;
    for (int i = 0, lane = 0; i < count; lane += lanes[i++]) {
        first_lane[i] = lane;
        longest = lanes[i] > longest ? lanes[i] : longest;
    }
    for (int vector = 0; vector < kVectors; ++vector) {
        uint32_t to[kLanes] = {};
        int rounds = 0;
        for (int i = 0; i < count; ++i) {
            uint32_t rest = pixels_of_vector(table.pixels[first + i], vector);
            for (int round = 0; rest != 0; ++round) {
                if (round == rounds) ++rounds;
                int32_t* from = block.gather_from[gathers + round] + first_lane[i];
                const int taken = take_pixels(rest, lanes[i], from);
                to[round] |= ((1u << taken) - 1u) << first_lane[i];
            }
        }
        for (int round = 0; round < rounds; ++round) {
            block.gather_to[gathers] = mask_from_bits(to[round]);
            block.gather_vector[gathers++] = vector * kLanes;
        }
    }
    group.last_gather = gathers;
    group.steps = 0;
    for (int step = 1; step < longest; step *= 2) {
        uint32_t adds = 0;
        for (int i = 0; i < count; ++i)
            if (lanes[i] > step) adds |= ((1u << (lanes[i] - step)) - 1u) << first_lane[i];
        group.adds[group.steps++] = mask_from_bits(adds);
    }
    const int first_target = targets;
    uint32_t to[kLanes];
    for (int i = 0; i < count; ++i) {
        const int sum = table.of_label[first + i];
        int k = first_target;
        while (k < targets && block.target_at[k] != sum / kLanes * kLanes) ++k;
        if (k == targets) {
            block.target_at[targets++] = sum / kLanes * kLanes;
            to[k - first_target] = 0;
        }
        block.target_from[k][sum % kLanes] = first_lane[i];
        to[k - first_target] |= 1u << (sum % kLanes);
    }
    for (int k = first_target; k < targets; ++k) block.target_to[k] = mask_from_bits(to[k - first_target]);
    group.last_target = targets;
}

PGS_INLINE void plan_block(const LabelTable& table, int count, LabelGathers& block) {
    block.groups = (count + kLanes - 1) / kLanes;
    int gathers = 0, targets = 0;
    for (int i = 0, first = 0; i < block.groups; ++i) {
        const int last = count * (i + 1) / block.groups;
        plan_group(table, first, last - first, block, gathers, targets, block.group[i]);
        first = last;
    }
}

PGS_INLINE void plan_block(const LabelTable& table, int count, LabelPixels& block) {
    for (int i = 0, k = 0; i < count; ++i) {
        for (uint64_t rest = table.pixels[i]; rest != 0; rest &= rest - 1)
            block.pixel[k++] = static_cast<uint8_t>(__builtin_ctzll(rest));
        block.number[i] = table.of_label[i];
        block.end[i] = static_cast<uint8_t>(k);
    }
}

PGS_INLINE void number_tile(const View& view, const int32_t* map, int tile, TileLabels& labels) {
    LabelTable table;
    std::memset(table.number, 0xff, sizeof table.number);
    labels.count = 0;
    for (int number = 0; number < kBlocks; ++number) {
        BlockLabels& block = labels.block[number];
        block.count = group_pixels(view, map, tile, number, table, labels);
        if (block.count == 1) block.only = table.of_label[0];
        if (block.count > 1) plan_block(table, block.count, block.of_pixels);
    }
}

}  // namespace panoptic_gs::PGS_ISA
