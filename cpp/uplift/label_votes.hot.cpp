// SPDX-License-Identifier: Apache-2.0
// Label votes of one view: one traversal, whatever the number of labels.
//
// While a batch of a tile's Gaussians is blended, their weights are summed per (Gaussian, label of the tile) in float,
// in an order that only the tile decides; the sums are then rounded to integers and handed to the store.
//
// - In a tile of few labels the sums are kept as vectors, and added up over their lanes when the batch ends. A block of
//   one label costs one addition a vector, a block of several the same under masks.
// - In a tile of more labels, the weights of a block of several wait in rows until there is one for each lane; they
//   are then transposed, so that a lane is a Gaussian, and the pixels of each label are added as whole vectors. The
//   cost does not depend on the number of labels.
#include <cstring>

#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/tile_labels.h"
#include "uplift/traversals.h"

#define PGS_MEMBER inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int kFewLabels = 4;                 // of a tile whose sums are kept as vectors
constexpr int kSums = kBatch * kTilePixels;   // of a worker: [label, slot] numbers, or [slot, label] vectors
static_assert(kFewLabels * kLanes <= kTilePixels);

// Exchanges rows and lanes of a square of vectors.
PGS_INLINE void transpose(Float (&v)[kLanes]) {
#pragma GCC unroll 4
    for (int step = 1; step < kLanes; step *= 2) {
        Int low, high;  // two-source lane numbers: second source from kLanes on
        for (int lane = 0; lane < kLanes; ++lane) {
            low[lane] = lane & step ? kLanes + lane - step : lane;
            high[lane] = lane & step ? kLanes + lane : lane + step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
            if (i & step) continue;
            const Float a = v[i], b = v[i + step];
#if defined(__clang__)
            for (int lane = 0; lane < kLanes; ++lane) {
                v[i][lane] = lane & step ? b[lane - step] : a[lane];
                v[i + step][lane] = lane & step ? b[lane] : a[lane + step];
            }
#else
            v[i] = __builtin_shuffle(a, b, low);
            v[i + step] = __builtin_shuffle(a, b, high);
#endif
        }
    }
}

// Weights of a block of several labels, waiting for one Gaussian a lane.
struct alignas(64) Waiting {
    float rows[kLanes][kBlockPixels];
    float columns[kBlockPixels][kLanes];
    int slot[kLanes];
    int count;
};

template <bool kWeighted>
struct VoteVisitor {
    static constexpr bool kSkipEmpty = true;

    const LabelVoteArguments& arguments;
    const TileLabels& labels;
    Waiting& waiting;
    float* sums;    // zero between batches
    bool* touched;  // [kBatch]
    int tile;
    bool few;  // labels in the tile

    int block, groups;
    Mask masks[kFewLabels][kVectors];
    Float factors[kVectors];

    PGS_MEMBER void begin_block(int number) {
        block = number;
        groups = labels.groups[block];
        if (few && groups > 1) {
            for (int j = 0, k = 0; j < groups; ++j) {
                uint64_t pixels = 0;
                for (; k < labels.ends[block][j]; ++k) pixels |= uint64_t{1} << labels.order[block][k];
                for (int i = 0; i < kVectors; ++i)
                    masks[j][i] = mask_from_bits(static_cast<uint32_t>(pixels >> (i * kLanes)) &
                                                 static_cast<uint32_t>((uint64_t{1} << kLanes) - 1));
            }
        }
        waiting.count = 0;
        if (kWeighted) load_factors();
    }

    PGS_MEMBER void blend(const Batch&, int slot, uint32_t, const Float (&blended)[kVectors], const Mask (&)[kVectors]) {
        Float weight[kVectors];
        for (int i = 0; i < kVectors; ++i) weight[i] = kWeighted ? blended[i] * factors[i] : blended[i];
        touched[slot] = true;
        if (few) {
            float* row = sums + slot * labels.count * kLanes;
            if (groups == 1) {
                add_vector(row + labels.number[block][0] * kLanes, total(weight));
            } else {
                for (int j = 0; j < groups; ++j) {
                    Float some[kVectors];
                    for (int i = 0; i < kVectors; ++i) some[i] = zero_unless(masks[j][i], weight[i]);
                    add_vector(row + labels.number[block][j] * kLanes, total(some));
                }
            }
        } else if (groups == 1) {
            sums[labels.number[block][0] * kBatch + slot] += sum(total(weight));
        } else {
            for (int i = 0; i < kVectors; ++i) store(waiting.rows[waiting.count] + i * kLanes, weight[i]);
            waiting.slot[waiting.count++] = slot;
            if (waiting.count == kLanes) add_waiting();
        }
    }

    PGS_MEMBER void end_block(int) {
        if (waiting.count > 0) add_waiting();
    }

    static PGS_MEMBER Float total(const Float (&weight)[kVectors]) {
        Float even = weight[0], odd = weight[1];
        for (int i = 2; i < kVectors; i += 2) {
            even += weight[i];
            odd += weight[i + 1];
        }
        return even + odd;
    }

    static PGS_MEMBER void add_vector(float* to, Float value) { store(to, load(to) + value); }

    PGS_MEMBER void add_waiting() {
        for (int i = 0; i < kVectors; ++i) {
            Float square[kLanes];
            for (int j = 0; j < kLanes; ++j) square[j] = load(waiting.rows[j] + i * kLanes);
            transpose(square);
            for (int j = 0; j < kLanes; ++j) store(waiting.columns[i * kLanes + j], square[j]);
        }
        const uint8_t* order = labels.order[block];
        for (int j = 0, k = 0; j < groups; ++j) {
            const int end = labels.ends[block][j];
            Float even = load(waiting.columns[order[k++]]), odd = splat(0.0f);
            for (; k + 1 < end; k += 2) {
                even += load(waiting.columns[order[k]]);
                odd += load(waiting.columns[order[k + 1]]);
            }
            if (k < end) even += load(waiting.columns[order[k++]]);
            float of_lane[kLanes];
            store(of_lane, even + odd);
            float* row = sums + labels.number[block][j] * kBatch;
            for (int lane = 0; lane < waiting.count; ++lane) row[waiting.slot[lane]] += of_lane[lane];
        }
        waiting.count = 0;
    }

    PGS_MEMBER void load_factors() {
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
    PGS_MEMBER void end_batch(const Batch& batch, VoteWriter& writer) {
        uint32_t gaussian[kBatch];
        for (int slot = 0; slot < batch.size; ++slot)
            if (touched[slot]) gaussian[slot] = arguments.view.footprints[batch.rank[slot]].id;
        if (few) {
            for (int slot = 0; slot < batch.size; ++slot) {
                if (!touched[slot]) continue;
                float* row = sums + slot * labels.count * kLanes;
                for (int number = 0; number < labels.count; ++number) {
                    hand_over(gaussian[slot], number, sum(load(row + number * kLanes)), writer);
                    store(row + number * kLanes, splat(0.0f));
                }
            }
        } else {
            for (int number = 0; number < labels.count; ++number) {
                float* row = sums + number * kBatch;
                for (int slot = 0; slot < batch.size; slot += kLanes) {
                    const Float votes = load(row + slot);
                    uint32_t voted = bits(greater_equal(votes, splat(1e-30f)));
                    if (voted == 0) continue;
                    for (; voted != 0; voted &= voted - 1) {
                        const int at = slot + __builtin_ctz(voted);
                        hand_over(gaussian[at], number, row[at], writer);
                    }
                    store(row + slot, splat(0.0f));
                }
            }
        }
        std::memset(touched, 0, kBatch);
    }

    PGS_MEMBER void hand_over(uint32_t gaussian, int number, float weight, VoteWriter& writer) {
        const auto votes = static_cast<uint64_t>(static_cast<double>(weight) * kVoteScale + 0.5);
        if (votes != 0) writer.add(gaussian, static_cast<uint32_t>(labels.label[number]), votes);
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
        Waiting waiting;
        bool touched[kBatch] = {};
        number_tile(view, arguments.labels, tile, labels);
        VoteVisitor<kWeighted> visitor{arguments, labels, waiting,
                                       scratch.data() + static_cast<size_t>(worker) * kSums, touched, tile,
                                       labels.count <= kFewLabels, 0, 0, {}, {}};
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
