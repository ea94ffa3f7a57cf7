// SPDX-License-Identifier: Apache-2.0
// The labels of a tile's pixels, numbered in order of appearance, and which pixels of a block carry which. For hot
// sources.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"
#include "core/view.h"

namespace panoptic_gs::PGS_ISA {

constexpr int kTilePixels = kBlocks * kBlockPixels;
constexpr int kFewLabels = 8;  // up to which the labels of a block are summed under masks

struct TileLabels {
    int count;
    int32_t label[kTilePixels];                // by number
    uint8_t number[kBlocks][kBlockPixels];     // of each pixel
    int block_count[kBlocks];                  // labels of a block, kFewLabels + 1 for more than kFewLabels
    uint8_t block_number[kBlocks][kFewLabels];
    uint64_t block_pixels[kBlocks][kFewLabels];
};

PGS_INLINE int number_of(TileLabels& labels, int16_t (&table)[2 * kTilePixels], int32_t label) {
    uint32_t at = (static_cast<uint32_t>(label) * 2654435769u) >> 23;  // 512 places
    while (table[at] >= 0 && labels.label[table[at]] != label) at = (at + 1) & (2 * kTilePixels - 1);
    if (table[at] < 0) {
        table[at] = static_cast<int16_t>(labels.count);
        labels.label[labels.count++] = label;
    }
    return table[at];
}

PGS_INLINE void number_tile(const View& view, const int32_t* map, int tile, TileLabels& labels) {
    const int x0 = tile % view.tiles_x * kTile, y0 = tile / view.tiles_x * kTile;
    int16_t table[2 * kTilePixels];
    std::memset(table, 0xff, sizeof table);
    labels.count = 0;
    int32_t last_label = map[static_cast<int64_t>(y0) * view.width + x0];
    int last = number_of(labels, table, last_label);
    for (int block = 0; block < kBlocks; ++block) {
        const int bx = x0 + block % kBlocksPerSide * kBlock, by = y0 + block / kBlocksPerSide * kBlock;
        for (int k = 0; k < kBlockPixels; ++k) {
            const int x = bx + k % kBlock, y = by + k / kBlock;
            if (x < view.width && y < view.height) {  // pixels outside get the number before them; their weight is 0
                const int32_t label = map[static_cast<int64_t>(y) * view.width + x];
                if (label != last_label) {
                    last_label = label;
                    last = number_of(labels, table, label);
                }
            }
            labels.number[block][k] = static_cast<uint8_t>(last);
        }
    }
    for (int block = 0; block < kBlocks; ++block) {
        int found = 0;
        for (int k = 0; k < kBlockPixels && found <= kFewLabels; ++k) {
            const uint8_t number = labels.number[block][k];
            int j = 0;
            while (j < found && labels.block_number[block][j] != number) ++j;
            if (j == found) {
                ++found;
                if (j == kFewLabels) break;
                labels.block_number[block][j] = number;
                labels.block_pixels[block][j] = 0;
            }
            labels.block_pixels[block][j] |= uint64_t{1} << k;
        }
        labels.block_count[block] = found;
    }
}

}  // namespace panoptic_gs::PGS_ISA
