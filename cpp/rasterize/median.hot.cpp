// SPDX-License-Identifier: Apache-2.0
#include "core/traverse.h"
#include "rasterize/raster.h"

namespace panoptic_gs::PGS_ISA {

namespace {

// The sums of weights so far, and the Gaussian with which they reached the share.
struct Crossing {
    static constexpr bool kSkipEmpty = true;

    const View& view;
    float share;
    Float (*totals)[kVectors];  // [kBlocks]
    Int (*ids)[kVectors];       // [kBlocks]

    Float total[kVectors];
    Int id[kVectors];

    __attribute__((always_inline)) void begin_block(int block) {
        for (int i = 0; i < kVectors; ++i) total[i] = totals[block][i], id[i] = ids[block][i];
    }
    __attribute__((always_inline)) void blend(const Batch& batch, int slot, uint32_t, const Float (&weight)[kVectors],
                                              const Mask (&hit)[kVectors]) {
        (void)hit;
        const Int here = splat_int(static_cast<int32_t>(view.footprints[batch.rank[slot]].id));
        for (int i = 0; i < kVectors; ++i) {
            const Float next = total[i] + weight[i];
            const Mask crosses = and_not(greater_equal(next, splat(share)), greater_equal(total[i], splat(share)));
            id[i] = select(crosses, here, id[i]);
            total[i] = next;
        }
    }
    __attribute__((always_inline)) void end_block(int block) {
        for (int i = 0; i < kVectors; ++i) totals[block][i] = total[i], ids[block][i] = id[i];
    }
};

}  // namespace

void find_crossing(const View& view, float share, int32_t* out, int tile) {
    alignas(64) Float totals[kBlocks][kVectors];
    alignas(64) Int ids[kBlocks][kVectors];
    for (int block = 0; block < kBlocks; ++block)
        for (int i = 0; i < kVectors; ++i) totals[block][i] = splat(0.0f), ids[block][i] = splat_int(-1);
    Crossing crossing{view, share, totals, ids, {}, {}};
    BlockState state;
    traverse_tile(view, tile, state, crossing);
    for (int block = 0; block < kBlocks; ++block) {
        int32_t pixels[kBlockPixels];
        for (int i = 0; i < kVectors; ++i) store(pixels + i * kLanes, ids[block][i]);
        const auto [x0, y0] = first_pixel(view, tile, block);
        for (int k = 0; k < kBlockPixels; ++k) {
            const int x = x0 + k % kBlock, y = y0 + k / kBlock;
            if (x < view.width && y < view.height) out[static_cast<int64_t>(y) * view.width + x] = pixels[k];
        }
    }
}

}  // namespace panoptic_gs::PGS_ISA
