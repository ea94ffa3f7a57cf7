// SPDX-License-Identifier: Apache-2.0
// Label votes of one view: one traversal, whatever the number of labels.
//
// While a batch of a tile's Gaussians is blended, their weights are summed per (Gaussian, label of the tile) in float,
// in an order that only the tile decides; the sums are then rounded to integers and handed to the store. A block of one
// label costs an addition per vector, a block of a few labels the same under masks, and only a block of many labels
// goes pixel by pixel.
#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/tile_labels.h"
#include "uplift/traversals.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int kVectorLabels = 4;  // up to which a tile's sums are kept as vectors, added up when the batch ends
constexpr int kSums = kBatch * (kTilePixels > kVectorLabels * kLanes ? kTilePixels : kVectorLabels * kLanes);

template <bool kWeighted>
struct VoteVisitor {
    static constexpr bool kSkipEmpty = true;

    const LabelVoteArguments& arguments;
    const TileLabels& labels;
    float* sums;     // [kBatch, labels] vectors or numbers, zero between batches
    bool* touched;   // [kBatch]
    int tile;
    bool as_vectors;

    int block_labels;
    const uint8_t* numbers;
    Mask masks[kFewLabels][kVectors];
    Float factors[kVectors];

    inline __attribute__((always_inline)) void begin_block(int block) {
        block_labels = labels.block_count[block];
        numbers = block_labels <= kFewLabels ? labels.block_number[block] : labels.number[block];
        if (block_labels > 1 && block_labels <= kFewLabels) {
            for (int j = 0; j < block_labels; ++j)
                for (int i = 0; i < kVectors; ++i)
                    masks[j][i] = mask_from_bits(static_cast<uint32_t>(labels.block_pixels[block][j] >> (i * kLanes)) &
                                                 static_cast<uint32_t>((uint64_t{1} << kLanes) - 1));
        }
        if (kWeighted) load_factors(block);
    }

    inline __attribute__((always_inline)) void blend(const Batch&, int slot, uint32_t, const Float (&blended)[kVectors],
                                 const Mask (&)[kVectors]) {
        Float weight[kVectors];
        for (int i = 0; i < kVectors; ++i) weight[i] = kWeighted ? blended[i] * factors[i] : blended[i];
        touched[slot] = true;
        if (block_labels == 1) {
            Float all = weight[0];
            for (int i = 1; i < kVectors; ++i) all += weight[i];
            add(slot, numbers[0], all);
        } else if (block_labels <= kFewLabels) {
            for (int j = 0; j < block_labels; ++j) {
                Float some = zero_unless(masks[j][0], weight[0]);
                for (int i = 1; i < kVectors; ++i) some += zero_unless(masks[j][i], weight[i]);
                add(slot, numbers[j], some);
            }
        } else {
            float pixels[kBlockPixels];
            for (int i = 0; i < kVectors; ++i) store(pixels + i * kLanes, weight[i]);
            float* row = sums + slot * labels.count;
            for (int k = 0; k < kBlockPixels; ++k) row[numbers[k]] += pixels[k];
        }
    }

    inline __attribute__((always_inline)) void end_block(int) {}

    inline __attribute__((always_inline)) void add(int slot, int number, Float value) {
        const int at = slot * labels.count + number;
        if (as_vectors)
            store(sums + at * kLanes, load(sums + at * kLanes) + value);
        else
            sums[at] += sum(value);
    }

    inline __attribute__((always_inline)) void load_factors(int block) {
        const View& view = arguments.view;
        const int x0 = tile % view.tiles_x * kTile + block % kBlocksPerSide * kBlock;
        const int y0 = tile / view.tiles_x * kTile + block / kBlocksPerSide * kBlock;
        float values[kBlockPixels];
        for (int k = 0; k < kBlockPixels; ++k) {
            const int x = x0 + k % kBlock, y = y0 + k / kBlock;
            values[k] = x < view.width && y < view.height
                            ? arguments.weights[static_cast<int64_t>(y) * view.width + x] : 0.0f;
        }
        for (int i = 0; i < kVectors; ++i) factors[i] = load(values + i * kLanes);
    }

    // Hands the sums of a batch to the store and leaves zeros.
    inline __attribute__((always_inline)) void end_batch(const Batch& batch, VoteWriter& writer) {
        const int stride = labels.count * (as_vectors ? kLanes : 1);
        for (int slot = 0; slot < batch.size; ++slot) {
            if (!touched[slot]) continue;
            touched[slot] = false;
            const uint32_t gaussian = arguments.view.footprints[batch.rank[slot]].id;
            float* row = sums + slot * stride;
            for (int number = 0; number < labels.count; ++number) {
                const float weight = as_vectors ? sum(load(row + number * kLanes)) : row[number];
                if (weight == 0.0f) continue;
                const auto votes = static_cast<uint64_t>(static_cast<double>(weight) * kVoteScale + 0.5);
                if (votes != 0) writer.add(gaussian, static_cast<uint32_t>(labels.label[number]), votes);
            }
            std::memset(row, 0, static_cast<size_t>(stride) * sizeof(float));
        }
    }
};

template <bool kWeighted>
PGS_INLINE void vote(const LabelVoteArguments& arguments) {
    const View& view = arguments.view;
    Buffer<float> scratch(static_cast<size_t>(arguments.threads) * kSums);
    std::memset(scratch.data(), 0, scratch.size() * sizeof(float));
    parallel_for(view.tiles(), arguments.threads, [&](int64_t index, int worker) {
        const int tile = static_cast<int>(index);
        const uint32_t end = view.tile_offsets[tile + 1];
        if (view.tile_offsets[tile] == end) return;
        TileLabels labels;
        number_tile(view, arguments.labels, tile, labels);
        bool touched[kBatch] = {};
        VoteVisitor<kWeighted> visitor{arguments, labels, scratch.data() + static_cast<size_t>(worker) * kSums, touched,
                                       tile, labels.count <= kVectorLabels, 0, nullptr, {}, {}};
        BlockState state;
        Batch batch;
        begin_tile(view, tile, state);
        for (uint32_t first = view.tile_offsets[tile]; first < end && state.alive != 0; first += kBatch) {
            load_batch(view, tile, first, first + kBatch < end ? first + kBatch : end, batch);
            select_blocks(batch, state.alive);
            for (int block = 0; block < kBlocks; ++block)
                if (state.alive >> block & 1u) traverse_block(batch, block, state, visitor);
            visitor.end_batch(batch, *arguments.writers[worker]);
        }
    });
}

}  // namespace

void add_label_votes(const LabelVoteArguments& arguments) {
    if (arguments.weights != nullptr)
        vote<true>(arguments);
    else
        vote<false>(arguments);
}

}  // namespace panoptic_gs::PGS_ISA
