// SPDX-License-Identifier: Apache-2.0
// The labels of a tile's pixels, numbered in order of appearance, and each block's pixels grouped by label. For hot
// sources.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"
#include "core/view.h"

namespace panoptic_gs::PGS_ISA {

constexpr int kTilePixels = kBlocks * kBlockPixels;
constexpr int kFewLabels = 3;  // of a block whose labels are summed under masks

struct TileLabels {
    int count;
    int32_t label[kTilePixels];  // by number
    // Block by block, its labels in groups.
    int groups[kBlocks];
    uint16_t number[kBlocks][kBlockPixels];
    uint64_t pixels[kBlocks][kBlockPixels];  // bit k: pixel k is of the group
    // Of blocks with more than kFewLabels: group j holds pixels order[ends[j - 1]] ... order[ends[j] - 1].
    uint8_t ends[kBlocks][kBlockPixels];
    uint8_t order[kBlocks][kBlockPixels];
};

struct LabelTable {
    static constexpr int kPlaces = 2 * kTilePixels;
    static constexpr int kShift = 32 - __builtin_ctz(kPlaces);
    static_assert((kPlaces & (kPlaces - 1)) == 0);
    int16_t number[kPlaces];
};

PGS_INLINE int number_of(TileLabels& labels, LabelTable& table, int32_t label) {
    uint32_t at = (static_cast<uint32_t>(label) * 2654435769u) >> LabelTable::kShift;
    while (table.number[at] >= 0 && labels.label[table.number[at]] != label) at = (at + 1) & (LabelTable::kPlaces - 1);
    if (table.number[at] < 0) {
        table.number[at] = static_cast<int16_t>(labels.count);
        labels.label[labels.count++] = label;
    }
    return table.number[at];
}

// The group of a number within a block, in order of first appearance.
PGS_INLINE int group_of(TileLabels& labels, int block, int number, uint8_t* group_of_number) {
    int j = group_of_number[number];
    if (j >= labels.groups[block] || labels.number[block][j] != number) {  // stale or unset
        j = labels.groups[block]++;
        group_of_number[number] = static_cast<uint8_t>(j);
        labels.number[block][j] = static_cast<uint16_t>(number);
        labels.pixels[block][j] = 0;
    }
    return j;
}

PGS_INLINE void order_pixels(TileLabels& labels, int block) {
    for (int j = 0, k = 0; j < labels.groups[block]; ++j) {
        for (uint64_t rest = labels.pixels[block][j]; rest != 0; rest &= rest - 1)
            labels.order[block][k++] = static_cast<uint8_t>(__builtin_ctzll(rest));
        labels.ends[block][j] = static_cast<uint8_t>(k);
    }
}

PGS_INLINE void number_tile(const View& view, const int32_t* map, int tile, TileLabels& labels) {
    const int x0 = tile % view.tiles_x * kTile, y0 = tile / view.tiles_x * kTile;
    LabelTable table;
    std::memset(&table, 0xff, sizeof table);
    uint8_t group_of_number[kTilePixels] = {};
    labels.count = 0;
    int32_t last_label = map[static_cast<int64_t>(y0) * view.width + x0];
    int last = number_of(labels, table, last_label);
    for (int block = 0; block < kBlocks; ++block) {
        const int bx = x0 + block % kBlocksPerSide * kBlock, by = y0 + block / kBlocksPerSide * kBlock;
        labels.groups[block] = 0;
        // Pixels outside of the image get the number before them; their weight is 0.
        const int columns = view.width - bx < kBlock ? view.width - bx : kBlock;
        const int rows = view.height - by < kBlock ? view.height - by : kBlock;
        if (columns <= 0 || rows <= 0) {
            labels.pixels[block][group_of(labels, block, last, group_of_number)] = ~uint64_t{0};
            continue;
        }
        uint64_t here = 0;  // of the group at hand
        int group = -1;
        for (int row = 0; row < rows; ++row) {
            const int32_t* of_row = map + static_cast<int64_t>(by + row) * view.width + bx;
            int32_t other = 0;
            if (columns == kBlock)
                for (int i = 0; i < kBlock; ++i) other |= of_row[i] ^ last_label;
            if (columns == kBlock && other == 0) {  // most rows
                if (group < 0) group = group_of(labels, block, last, group_of_number);
                here |= uint64_t{0xff} << (row * kBlock);
                continue;
            }
            for (int i = 0; i < columns; ++i) {
                if (of_row[i] != last_label || group < 0) {
                    if (group >= 0) labels.pixels[block][group] |= here;
                    here = 0;
                    if (of_row[i] != last_label) {
                        last_label = of_row[i];
                        last = number_of(labels, table, last_label);
                    }
                    group = group_of(labels, block, last, group_of_number);
                }
                here |= uint64_t{1} << (row * kBlock + i);
            }
        }
        labels.pixels[block][group] |= here;
        if (labels.groups[block] > kFewLabels) order_pixels(labels, block);
    }
}

}  // namespace panoptic_gs::PGS_ISA
