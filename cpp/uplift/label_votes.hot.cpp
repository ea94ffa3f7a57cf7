// SPDX-License-Identifier: Apache-2.0
// Label votes of one view: one traversal, whatever the number of labels.
//
// While a batch of a tile's Gaussians is blended, their weights are summed per (Gaussian, label of the tile) in float,
// in an order that only the tile decides; merge_votes.hot.cpp rounds the sums to integers and adds them up.
//
// - In a block of few labels, the weights of each are added up over the block's vectors under a mask; the vectors wait
//   until there are as many as lanes, so that their lanes are added up together.
// - In a block of more labels, the weights of its pixels wait in rows until there is one for each lane; they are then
//   transposed, so that a lane is a Gaussian, and the pixels of each label are added as whole vectors. The cost does not
//   depend on the number of labels.
#include <cstring>

#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/tile_labels.h"
#include "uplift/traversals.h"

#define PGS_MEMBER inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int kSums = kBatch * kTilePixels;  // of a worker: [slot, label]
constexpr float kLeastVote = 0.5f / static_cast<float>(kVoteScale);  // rounds to one unit

// What waits until there is one for each lane.
struct alignas(64) Waiting {
    Float totals[kLanes];            // of one label each
    int total_at[kLanes];            // where their sum belongs
    int totals_count;
    float rows[kLanes][kBlockPixels];  // weights of a block of several labels
    float columns[kBlockPixels][kLanes];
    int row_slot[kLanes];
    int rows_count;
};

template <bool kWeighted>
struct VoteVisitor {
    static constexpr bool kSkipEmpty = true;

    const LabelVoteArguments& arguments;
    const TileLabels& labels;
    Waiting& waiting;
    VoteWriter& writer;
    float* sums;    // zero between batches
    int width;      // of a slot's row of sums
    bool* touched;  // [kBatch]
    int tile;

    uint32_t gaussian[kBatch];
    int block, groups;
    Mask masks[kFewLabels][kVectors];
    Float factors[kVectors];

    // The ends of the batch's streams lie all over memory.
    PGS_MEMBER void begin_batch(const Batch& batch) {
        const Footprint* footprints = arguments.view.footprints.data();
        for (int slot = 0; slot < batch.size; ++slot) {
            gaussian[slot] = footprints[batch.rank[slot]].id;
            const uint32_t* at = writer.streams[gaussian[slot] >> arguments.votes.chunk_shift].at;
            __builtin_prefetch(at, 1);
            __builtin_prefetch(at + VotePage::kHalf, 1);
        }
    }

    PGS_MEMBER void begin_block(int number) {
        block = number;
        groups = labels.groups[block];
        if (groups > 1 && groups <= kFewLabels) {
            for (int j = 0; j < groups; ++j) {
                const uint64_t pixels = labels.pixels[block][j];
                for (int i = 0; i < kVectors; ++i)
                    masks[j][i] = mask_from_bits(static_cast<uint32_t>(pixels >> (i * kLanes)) &
                                                 static_cast<uint32_t>((uint64_t{1} << kLanes) - 1));
            }
        }
        if (kWeighted) load_pixels(arguments.view, arguments.weights, tile, block, factors);
    }

    PGS_MEMBER void blend(const Batch&, int slot, uint32_t, const Float (&blended)[kVectors], const Mask (&)[kVectors]) {
        Float weight[kVectors];
        for (int i = 0; i < kVectors; ++i) weight[i] = kWeighted ? blended[i] * factors[i] : blended[i];
        touched[slot] = true;
        if (groups == 1) {
            add_total(slot, 0, weight);
        } else if (groups <= kFewLabels) {
            for (int j = 0; j < groups; ++j) {
                Float some[kVectors];
                for (int i = 0; i < kVectors; ++i) some[i] = zero_unless(masks[j][i], weight[i]);
                add_total(slot, j, some);
            }
        } else {
            for (int i = 0; i < kVectors; ++i) store(waiting.rows[waiting.rows_count] + i * kLanes, weight[i]);
            waiting.row_slot[waiting.rows_count++] = slot;
            if (waiting.rows_count == kLanes) sum_columns();
        }
    }

    PGS_MEMBER void end_block(int) {
        if (waiting.rows_count > 0) sum_columns();
    }

    PGS_MEMBER void add_total(int slot, int group, const Float (&weight)[kVectors]) {
        Float even = weight[0], odd = weight[1];
        for (int i = 2; i < kVectors; i += 2) {
            even += weight[i];
            odd += weight[i + 1];
        }
        waiting.totals[waiting.totals_count] = even + odd;
        waiting.total_at[waiting.totals_count++] = slot * width + labels.number[block][group];
        if (waiting.totals_count == kLanes) sum_totals();
    }

    PGS_MEMBER void sum_totals() {
        Float rows[kLanes];
        for (int i = 0; i < kLanes; ++i) rows[i] = waiting.totals[i];
        float of_row[kLanes];
        store(of_row, sum_rows(rows));
        for (int i = 0; i < waiting.totals_count; ++i) sums[waiting.total_at[i]] += of_row[i];
        waiting.totals_count = 0;
    }

    PGS_MEMBER void sum_columns() {
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
            float* column = sums + labels.number[block][j];
            for (int lane = 0; lane < waiting.rows_count; ++lane) column[waiting.row_slot[lane] * width] += of_lane[lane];
        }
        waiting.rows_count = 0;
    }

    // Writes the votes of a batch and leaves zeros.
    PGS_MEMBER void end_batch(const Batch& batch) {
        if (waiting.totals_count > 0) sum_totals();
        for (int slot = 0; slot < batch.size; ++slot) {
            if (!touched[slot]) continue;
            VoteStream& stream = writer.streams[gaussian[slot] >> arguments.votes.chunk_shift];
            float* row = sums + slot * width;
            if (width == 1) {
                if (*row >= kLeastVote) write_only_vote(stream, gaussian[slot], *row);
                *row = 0.0f;
                continue;
            }
            constexpr int kMost = static_cast<int>(VotePage::kMostVotes);
            for (int first = 0; first < width; first += kMost)
                write_votes(stream, gaussian[slot], row, first, first + kMost < width ? first + kMost : width);
        }
        std::memset(touched, 0, kBatch);
    }

    PGS_MEMBER void write_only_vote(VoteStream& stream, uint32_t own, float weight) {
        writer.reserve(stream, 1);
        stream.at[1] = static_cast<uint32_t>(labels.label[0]);
        std::memcpy(stream.at + VotePage::kHalf + 1, &weight, sizeof weight);
        end_run(stream, own, 1);
    }

    PGS_MEMBER void end_run(VoteStream& stream, uint32_t own, uint32_t count) {
        stream.at[0] = own;
        stream.at[VotePage::kHalf] = count;
        stream.at += 1 + count;
        ++stream.runs;
    }

    // Those of the labels with numbers [first, last).
    PGS_MEMBER void write_votes(VoteStream& stream, uint32_t own, float* row, int first, int last) {
        writer.reserve(stream, static_cast<uint32_t>(last - first));
        uint32_t* label = stream.at + 1;
        uint32_t* weight = label + VotePage::kHalf;
        int count = 0;
        for (int number = first; number < last; number += kLanes) {
            const Float here = load(row + number);
            store(row + number, splat(0.0f));
            uint32_t voted = bits(greater_equal(here, splat(kLeastVote)));
#if defined(__AVX512F__)
            const auto mask = static_cast<__mmask16>(voted);
            const __m512i all = _mm512_loadu_si512(labels.label + number);
            _mm512_storeu_si512(label + count, _mm512_maskz_compress_epi32(mask, all));
            _mm512_storeu_si512(weight + count, _mm512_maskz_compress_epi32(mask, (__m512i)here));
            count += __builtin_popcount(voted);
#else
            for (; voted != 0; voted &= voted - 1, ++count) {
                const int lane = __builtin_ctz(voted);
                label[count] = static_cast<uint32_t>(labels.label[number + lane]);
                const float one = here[lane];
                std::memcpy(weight + count, &one, sizeof one);
            }
#endif
        }
        if (count > 0) end_run(stream, own, static_cast<uint32_t>(count));
    }
};

template <bool kWeighted>
PGS_INLINE void vote(const LabelVoteArguments& arguments) {
    const View& view = arguments.view;
    Buffer<float> scratch(static_cast<size_t>(arguments.threads) * kSums);
    std::memset(scratch.data(), 0, scratch.size() * sizeof(float));
    parallel_for(view.tiles(), arguments.threads, [&](int64_t index, int worker) {
        if (arguments.done[index] || arguments.votes.full()) return;
        arguments.done[index] = true;
        const int tile = static_cast<int>(index);
        if (view.tile_offsets[tile] == view.tile_offsets[tile + 1]) return;
        TileLabels labels;
        number_tile(view, arguments.labels, tile, labels);
        Waiting waiting;
        waiting.totals_count = waiting.rows_count = 0;
        bool touched[kBatch] = {};
        VoteVisitor<kWeighted> visitor{arguments, labels, waiting, arguments.votes.writers[worker],
                                       scratch.data() + static_cast<size_t>(worker) * kSums,
                                       labels.count == 1 ? 1 : (labels.count + kLanes - 1) / kLanes * kLanes,
                                       touched, tile, {}, 0, 0, {}, {}};
        BlockState state;
        traverse_tile(view, tile, state, visitor);
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
