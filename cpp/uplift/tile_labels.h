// SPDX-License-Identifier: Apache-2.0
// The labels of a tile's pixels, numbered in order of appearance, and how the weights of a block's pixels are added up
// by label. For hot sources.
//
// A group of a block's labels, usually all of them, shares the lanes of one vector: each label gets some that follow
// one another. Gathers bring the block's pixels there: a gather takes pixels of one or two vectors to lanes of their
// labels, and the sum of all gathers is left with the sums of a few lanes for each label. Where vectors are short, or
// permuting them is slow, a plain list of each label's pixels does better.
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
// Vectors that a gather takes pixels from.
constexpr int kGatherVectors = kLanes == 16 ? 2 : 1;
constexpr int kSources = kVectors / kGatherVectors;
constexpr int kSourcePixels = kGatherVectors * kLanes;

struct LabelGroup {
    int last_gather[kSources], last_target;
    // In step s, each lane adds the lane 2^s after it where that has the same label; in the end the first lane of a
    // label has its sum.
    int steps;
    Mask adds[kMostSteps];
};

struct LabelGathers {
    int groups;
    LabelGroup group[kVectors];
    // Gathers, group by group and source by source; negative in lanes that they bring nothing to.
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
    int32_t greatest;
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
        labels.greatest = label > labels.greatest ? label : labels.greatest;
    }
    return table.number[at];
}

// Finds the labels of a block, and of each pixel which one it is.
PGS_INLINE int group_pixels(const View& view, const int32_t* map, int tile, int block, LabelTable& table,
                            TileLabels& labels) {
    const auto [x0, y0] = first_pixel(view, tile, block);
    if (x0 >= view.width || y0 >= view.height) return 0;
    // Pixels outside of the image repeat the nearest one; their weight is 0.
    int32_t label[kBlockPixels];
    for (int row = 0; row < kBlock; ++row) {
        const int y = y0 + row < view.height ? y0 + row : view.height - 1;
        const int32_t* of_row = map + static_cast<int64_t>(y) * view.width + x0;
        if (x0 + kBlock <= view.width) {
            std::memcpy(label + row * kBlock, of_row, kBlock * sizeof *label);
        } else {
            const int last = view.width - 1 - x0;
            for (int i = 0; i < kBlock; ++i) label[row * kBlock + i] = of_row[i < last ? i : last];
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

PGS_INLINE uint32_t pixels_of_source(uint64_t pixels, int source) {
    return static_cast<uint32_t>(pixels >> (source * kSourcePixels) & ((uint64_t{1} << kSourcePixels) - 1));
}

// Where a label's pixels of one source go, from its first lane of the first gather on, if it has `lanes` lanes.
struct GatherPlaces {
    int32_t of_pixel[kLanes + 1][kSourcePixels + kLanes];

    constexpr GatherPlaces() : of_pixel{} {
        for (int lanes = 1; lanes <= kLanes; ++lanes)
            for (int k = 0; k < kSourcePixels + kLanes; ++k) of_pixel[lanes][k] = k / lanes * kLanes + k % lanes;
    }
};
alignas(64) constexpr GatherPlaces kGatherPlaces;

// Gives each of a group's labels as many lanes as let the fewest gathers do for any source. `most`: the pixels that it
// has in one source at most.
PGS_INLINE Int share_lanes(Int most) {
    for (int gathers = (sum(most) + kLanes - 1) / kLanes;; ++gathers) {
        const Int lanes = ((most + gathers - 1) * (65536 / gathers + 1)) >> 16;  // divided by the gathers, rounded up
        if (sum(lanes) <= kLanes) return lanes;
    }
}

// Plans the gathers of one source, `from` on. `labels`: all pixels of each, and how its lanes lie.
PGS_INLINE void plan_gathers(const uint64_t* labels, int count, int source, const int32_t* lanes,
                             const int32_t* first_lane, int32_t* from) {
#if defined(__AVX512F__)
    const __m512i lane = (__m512i)to_int(lane_numbers());
    __m512i place[kGatherVectors];  // of each pixel
    __mmask16 in_group[kGatherVectors] = {};
    for (int k = 0; k < kGatherVectors; ++k) place[k] = _mm512_setzero_si512();
    for (int i = 0; i < count; ++i) {
        const uint32_t pixels = pixels_of_source(labels[i], source);
        const int32_t* places = kGatherPlaces.of_pixel[lanes[i]];
        for (int k = 0; k < kGatherVectors; ++k) {
            const auto here = static_cast<__mmask16>(pixels >> (k * kLanes));
            const __m512i own = _mm512_add_epi32(_mm512_loadu_si512(places), _mm512_set1_epi32(first_lane[i]));
            place[k] = _mm512_mask_expand_epi32(place[k], here, own);
            in_group[k] |= here;
            places += __builtin_popcount(here);
        }
    }
    for (int k = 0; k < kGatherVectors; ++k) {
        const __m512i pixel = _mm512_add_epi32(lane, _mm512_set1_epi32(k * kLanes));
        _mm512_mask_i32scatter_epi32(from, in_group[k], place[k], pixel, 4);
    }
#else
    for (int i = 0; i < count; ++i) {
        const int32_t* place = kGatherPlaces.of_pixel[lanes[i]];
        for (uint32_t rest = pixels_of_source(labels[i], source); rest != 0; rest &= rest - 1)
            from[first_lane[i] + *place++] = __builtin_ctz(rest);
    }
#endif
}

PGS_INLINE void plan_group(const LabelTable& table, int first, int count, LabelGathers& block, int& gathers,
                           int& targets, LabelGroup& group) {
    int32_t pixels_of[kSources][kLanes] = {}, lanes[kLanes], first_lane[kLanes];
    for (int i = 0; i < count; ++i)
        for (int source = 0; source < kSources; ++source)
            pixels_of[source][i] = __builtin_popcount(pixels_of_source(table.pixels[first + i], source));
    Int pixels[kSources], most = splat_int(0);
    for (int source = 0; source < kSources; ++source) {
        pixels[source] = load(pixels_of[source]);
        most = select(less_equal(most, pixels[source]), pixels[source], most);
    }
    const Int share = share_lanes(most);
    store(lanes, share);
    Int owner = splat_int(0);  // of each lane
    int longest = 0;
    for (int i = 0, lane = 0; i < count; lane += lanes[i++]) {
        first_lane[i] = lane;
        longest = lanes[i] > longest ? lanes[i] : longest;
        owner = select(less_equal(splat_int(lane), to_int(lane_numbers())), splat_int(i), owner);
    }
    // Lanes without a label have no pixels either.
    const Float divisor = max(to_float(share), splat(1.0f));
    for (int source = 0; source < kSources; ++source) {
        int32_t gathers_of[kLanes], most_gathers = 0;
        store(gathers_of, to_int(ceil(to_float(pixels[source]) / divisor)));
        for (int i = 0; i < kLanes; ++i) most_gathers = gathers_of[i] > most_gathers ? gathers_of[i] : most_gathers;
        int32_t* from = block.gather_from[gathers];
        for (int i = 0; i < most_gathers; ++i) store(block.gather_from[gathers++], splat_int(-1));
        plan_gathers(table.pixels + first, count, source, lanes, first_lane, from);
        group.last_gather[source] = gathers;
    }
    group.steps = 0;
    const Int lane = to_int(lane_numbers());
    for (int step = 1; step < longest; step *= 2) {
        const Int behind = lane + step;
        group.adds[group.steps++] = less_equal(behind, splat_int(kLanes - 1)) & equal(permute(owner, behind), owner);
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
    labels.count = labels.greatest = 0;
    for (int number = 0; number < kBlocks; ++number) {
        BlockLabels& block = labels.block[number];
        block.count = group_pixels(view, map, tile, number, table, labels);
        if (block.count == 1) block.only = table.of_label[0];
        if (block.count > 1) plan_block(table, block.count, block.of_pixels);
    }
}

}  // namespace panoptic_gs::PGS_ISA
