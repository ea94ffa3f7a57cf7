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
    // Block by block, its labels in groups: group j holds pixels order[ends[j - 1]] ... order[ends[j] - 1].
    int groups[kBlocks];
    uint16_t number[kBlocks][kBlockPixels];
    uint8_t ends[kBlocks][kBlockPixels];
    uint8_t order[kBlocks][kBlockPixels];
    uint64_t pixels[kBlocks][kFewLabels];  // of each group, where there are no more
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

// Groups the pixels of a block, in order of first appearance. Most blocks have one label.
PGS_INLINE void group_block(TileLabels& labels, int block, const uint16_t* numbers, uint8_t* group_of_number) {
    int groups = 0;
    uint8_t size[kBlockPixels], group[kBlockPixels];
    for (int k = 0; k < kBlockPixels; ++k) {
        const uint16_t number = numbers[k];
        int j = group_of_number[number];
        if (j >= groups || labels.number[block][j] != number) {  // stale or unset
            j = groups++;
            group_of_number[number] = static_cast<uint8_t>(j);
            labels.number[block][j] = number;
            size[j] = 0;
        }
        ++size[j];
        group[k] = static_cast<uint8_t>(j);
    }
    labels.groups[block] = groups;
    uint8_t next[kBlockPixels];
    for (int j = 0, end = 0; j < groups; ++j) {
        next[j] = static_cast<uint8_t>(end);
        end += size[j];
        labels.ends[block][j] = static_cast<uint8_t>(end);
    }
    for (int k = 0; k < kBlockPixels; ++k) labels.order[block][next[group[k]]++] = static_cast<uint8_t>(k);
    if (groups > kFewLabels) return;
    for (int j = 0, i = 0; j < groups; ++j) {
        labels.pixels[block][j] = 0;
        for (; i < labels.ends[block][j]; ++i) labels.pixels[block][j] |= uint64_t{1} << labels.order[block][i];
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
        uint16_t numbers[kBlockPixels];
        bool one = true;
        for (int k = 0; k < kBlockPixels; ++k) {
            const int x = bx + k % kBlock, y = by + k / kBlock;
            if (k % kBlock == 0 && x + kBlock <= view.width && y < view.height) {  // most rows have one label
                const int32_t* row = map + static_cast<int64_t>(y) * view.width + x;
                int32_t other = 0;
                for (int i = 0; i < kBlock; ++i) other |= row[i] ^ last_label;
                if (other == 0) {
                    for (int i = 0; i < kBlock; ++i) numbers[k + i] = static_cast<uint16_t>(last);
                    k += kBlock - 1;
                    continue;
                }
            }
            if (x < view.width && y < view.height) {  // pixels outside get the number before them; their weight is 0
                const int32_t label = map[static_cast<int64_t>(y) * view.width + x];
                if (label != last_label) {
                    last_label = label;
                    last = number_of(labels, table, label);
                    one &= k == 0;
                }
            }
            numbers[k] = static_cast<uint16_t>(last);
        }
        if (one) {
            labels.groups[block] = 1;
            labels.number[block][0] = numbers[0];
        } else {
            group_block(labels, block, numbers, group_of_number);
        }
    }
}

}  // namespace panoptic_gs::PGS_ISA
