// SPDX-License-Identifier: Apache-2.0
#include "uplift/view_weights.h"

#include "core/thread_pool.h"
#include "core/traverse.h"

namespace panoptic_gs::PGS_ISA {

namespace {

// Bit k: pixel k of the block is asked for.
PGS_INLINE uint64_t asked_for(const View& view, const int32_t* row_of, int tile, int block) {
    const auto [x0, y0] = first_pixel(view, tile, block);
    uint64_t all = 0;
    for (int k = 0; k < kBlockPixels; ++k) {
        const int x = x0 + k % kBlock, y = y0 + k / kBlock;
        const bool inside = x < view.width && y < view.height;
        all |= static_cast<uint64_t>(inside && row_of[static_cast<int64_t>(y) * view.width + x] >= 0) << k;
    }
    return all;
}

struct WeightVisitor {
    static constexpr bool kSkipEmpty = true;
    const WeightArguments& arguments;
    WeightWriter& writer;
    int tile;
    uint32_t first_pixel_of_block;
    uint32_t count;

    inline __attribute__((always_inline)) uint64_t wanted(int block) {
        return arguments.row_of == nullptr ? ~uint64_t{0} : asked_for(arguments.view, arguments.row_of, tile, block);
    }

    inline __attribute__((always_inline)) void begin_block(int block) {
        first_pixel_of_block = static_cast<uint32_t>(block * kBlockPixels);
    }

    inline __attribute__((always_inline)) void blend(const Batch& batch, int slot, uint32_t entry,
                                                     const Float (&weight)[kVectors], const Mask (&hit)[kVectors]) {
        arguments.touched[entry] = 1;
        if (WeightPage::kPlaces - writer.page->used < kBlockPixels) writer.next_page();
        WeightPage& page = *writer.page;
        uint32_t at = page.used;
        for (int i = 0; i < kVectors; ++i) {
            const uint32_t hits = bits(hit[i]);
            const uint32_t first = first_pixel_of_block + static_cast<uint32_t>(i * kLanes);
#if defined(__AVX512F__)
            const auto lanes = static_cast<__mmask16>(hits);
            const __m512i pixel =
                _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                                 _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
            const __m256i packed = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(lanes, pixel));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(page.pixels + at), packed);
            _mm512_storeu_ps(page.weights + at, _mm512_maskz_compress_ps(lanes, weight[i]));
            _mm512_storeu_si512(page.ranks + at, _mm512_set1_epi32(static_cast<int>(batch.rank[slot])));
            at += static_cast<uint32_t>(__builtin_popcount(hits));
#else
            float values[kLanes];
            store(values, weight[i]);
            for (uint32_t rest = hits; rest != 0; rest &= rest - 1) {
                const int lane = __builtin_ctz(rest);
                page.pixels[at] = static_cast<uint16_t>(first + static_cast<uint32_t>(lane));
                page.weights[at] = values[lane];
                page.ranks[at] = batch.rank[slot];
                ++at;
            }
#endif
        }
        count += at - page.used;
        page.used = at;
    }

    inline __attribute__((always_inline)) void end_block(int) {}
};

}  // namespace

void collect_weights(const WeightArguments& arguments) {
    const View& view = arguments.view;
    parallel_for(view.tiles(), arguments.threads, [&](int64_t index, int worker) {
        const int tile = static_cast<int>(index);
        WeightWriter& writer = arguments.writers[worker];
        TileEntries& entries = arguments.tiles[index];
        entries.page = writer.page;
        entries.at = writer.page->used;
        WeightVisitor visitor{arguments, writer, tile, 0, 0};
        BlockState state;
        traverse_tile(view, tile, state, visitor);
        entries.count = visitor.count;
    });
}

}  // namespace panoptic_gs::PGS_ISA
