// SPDX-License-Identifier: Apache-2.0
// Label votes of one view: one traversal, whatever the number of labels.
//
// While a batch of a tile's Gaussians is blended, their weights are summed per (Gaussian, label of the tile) in float,
// in an order that only the tile decides; merge_votes.hot.cpp rounds the sums to integers and adds them up.
//
// - In a block of one label, the weights are added up over the block's vectors; the vectors wait until there are as
//   many as lanes, so that their lanes are added up together.
// - In a block of several labels, the weights of a few Gaussians wait, so that what moves pixels to the lanes of their
//   labels (tile_labels.h) is fetched once for all of them.
#include <cstring>

#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/packed_rows.h"
#include "uplift/tile_labels.h"
#include "uplift/traversals.h"

#define PGS_MEMBER inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int kSums = kBatch * kTilePixels;                          // of a worker: [slot, label]
constexpr float kLeastVote = 0.5f / static_cast<float>(kVoteScale);  // rounds to one unit
constexpr int kTogether = 4;  // Gaussians whose weights are added up by label side by side

struct alignas(64) Waiting {
    // Of a lone label, until there is one for each lane.
    Float totals[kLanes];
    int total_at[kLanes];  // where their sum belongs
    int count;
    // Weights of a block of several labels.
    alignas(64) float weights[kTogether][kBlockPixels];
    float* row[kTogether];  // of sums
    int rows;
};

template <bool kWeighted>
struct VoteVisitor {
    static constexpr bool kSkipEmpty = kLanes < 16;  // few pairs are empty, and a mispredicted branch costs more

    const LabelVoteArguments& arguments;
    const TileLabels& labels;
    Waiting& waiting;
    VoteWriter& writer;
    float* sums;    // zero between batches
    int width;      // of a slot's row of sums
    uint32_t wide;  // VotePage::kWide if the tile has labels that are not narrow
    bool* touched;  // [kBatch]
    int tile;

    int block;
    Float factors[kVectors];

    PGS_MEMBER void begin_block(int number) {
        block = number;
        if (kWeighted) load_pixels(arguments.view, arguments.weights, tile, block, factors);
    }

    PGS_MEMBER void blend(const Batch&, int slot, uint32_t, const Float (&blended)[kVectors],
                          const Mask (&)[kVectors]) {
        Float weight[kVectors];
        for (int i = 0; i < kVectors; ++i) weight[i] = kWeighted ? blended[i] * factors[i] : blended[i];
        touched[slot] = true;
        const BlockLabels& here = labels.block[block];
        if (here.count == 1)
            add_total(slot * width + here.only, weight);
        else
            wait(slot, weight);
    }

    PGS_MEMBER void wait(int slot, const Float (&weight)[kVectors]) {
        const int row = waiting.rows;
        float* own = waiting.weights[row];
        for (int i = 0; i < kVectors; ++i) store(own + i * kLanes, weight[i]);
        waiting.row[row] = sums + slot * width;
        waiting.rows = row + 1;
        if (row + 1 < kTogether) return;
        add_rows<kTogether>(0);
        waiting.rows = 0;
    }

    PGS_MEMBER void end_block(int) {
        int first = 0;
        for (; waiting.rows - first >= 2; first += 2) add_rows<2>(first);
        if (waiting.rows > first) add_rows<1>(first);
        waiting.rows = 0;
    }

    // Adds up the weights of kRows Gaussians that wait, from the first on.
    template <int kRows>
    PGS_MEMBER void add_rows(int first) {
        const BlockLabels& here = labels.block[block];
        add_pixels<kRows>(here.of_pixels, here.count, first);
    }

    template <int kRows>
    PGS_MEMBER void add_pixels(const LabelPixels& here, int count, int first) {
        for (int i = 0; i < kRows; ++i)
            for (int label = 0, k = 0; label < count; ++label) {
                float sum = 0.0f;
                for (; k < here.end[label]; ++k) sum += waiting.weights[first + i][here.pixel[k]];
                waiting.row[first + i][here.number[label]] += sum;
            }
    }

    template <int kRows>
    PGS_MEMBER void add_pixels(const LabelGathers& here, int, int first) {
        int gather = 0, target = 0;
        for (int number = 0; number < here.groups; ++number) {
            const LabelGroup& group = here.group[number];
            Float sum[kRows];
            for (int i = 0; i < kRows; ++i) sum[i] = splat(0.0f);
            for (int source = 0; source < kSources; ++source) {
                Float weight[kRows][kGatherVectors];
                for (int i = 0; i < kRows; ++i)
                    for (int k = 0; k < kGatherVectors; ++k)
                        weight[i][k] = load(waiting.weights[first + i] + (source * kGatherVectors + k) * kLanes);
                for (; gather < group.last_gather[source]; ++gather) {
                    const Int from = load(here.gather_from[gather]);
                    const Mask to = less_equal(splat_int(0), from);
                    for (int i = 0; i < kRows; ++i) sum[i] = add_where(to, sum[i], permute(weight[i], from));
                }
            }
            Int behind = to_int(lane_numbers()) + 1;
            for (int step = 0; step < group.steps; ++step, behind += 1 << (step - 1))
                for (int i = 0; i < kRows; ++i) sum[i] = add_where(group.adds[step], sum[i], permute(sum[i], behind));
            for (; target < group.last_target; ++target) {
                const Int from = load(here.target_from[target]);
                const Mask to = here.target_to[target];
                for (int i = 0; i < kRows; ++i) {
                    float* at = waiting.row[first + i] + here.target_at[target];
                    store(at, add_where(to, load(at), permute(sum[i], from)));
                }
            }
        }
    }

    PGS_MEMBER void add_total(int at, const Float (&weight)[kVectors]) {
        Float even = weight[0], odd = weight[1];
        for (int i = 2; i < kVectors; i += 2) {
            even += weight[i];
            odd += weight[i + 1];
        }
        waiting.totals[waiting.count] = even + odd;
        waiting.total_at[waiting.count++] = at;
        if (waiting.count == kLanes) sum_totals();
    }

    PGS_MEMBER void sum_totals() {
        Float rows[kLanes];
        for (int i = 0; i < kLanes; ++i) rows[i] = waiting.totals[i];
        float of_row[kLanes];
        store(of_row, sum_rows(rows));
        for (int i = 0; i < waiting.count; ++i) sums[waiting.total_at[i]] += of_row[i];
        waiting.count = 0;
    }

    // Writes the votes of a batch and leaves zeros.
    PGS_MEMBER void end_batch(const Batch& batch) {
        if (waiting.count > 0) sum_totals();
        for (int slot = 0; slot < batch.size; ++slot) {
            if (!touched[slot]) continue;
            const uint32_t gaussian = arguments.view.footprints.data()[batch.rank[slot]].id;
            VoteStream& stream = writer.streams[gaussian >> arguments.votes.chunk_shift];
            float* row = sums + slot * width;
            if (width == 1) {
                if (*row >= kLeastVote) write_only_vote(stream, gaussian, *row);
                *row = 0.0f;
                continue;
            }
            constexpr int kMost = static_cast<int>(VotePage::kMostVotes);
            for (int first = 0; first < width; first += kMost)
                write_votes(stream, gaussian, row, first, first + kMost < width ? first + kMost : width);
        }
        std::memset(touched, 0, kBatch);
    }

    PGS_MEMBER void write_only_vote(VoteStream& stream, uint32_t own, float weight) {
        writer.reserve(stream, 1);
        const auto label = static_cast<uint32_t>(labels.label[0]);
        std::memcpy(stream.page->weights + stream.at + 1, &weight, sizeof weight);
        stream.page->labels[stream.at + 1] = static_cast<uint16_t>(label);
        if (wide != 0) stream.page->upper_labels[stream.at + 1] = static_cast<uint16_t>(label >> 16);
        end_run(stream, own, 1);
    }

    PGS_MEMBER void end_run(VoteStream& stream, uint32_t own, uint32_t count) {
        stream.page->weights[stream.at] = own & ((1u << arguments.votes.chunk_shift) - 1u);
        stream.page->labels[stream.at] = static_cast<uint16_t>(count | wide);
        stream.at += 1 + count;
        ++stream.runs;
        // What the next run of this stream writes to: streams end all over memory.
        __builtin_prefetch(stream.page->weights + stream.at + 16, 1);
        __builtin_prefetch(stream.page->labels + stream.at + 32, 1);
    }

    // Those of the labels with numbers [first, last).
    PGS_MEMBER void write_votes(VoteStream& stream, uint32_t own, float* row, int first, int last) {
        writer.reserve(stream, static_cast<uint32_t>(last - first));
        uint32_t* weight = stream.page->weights + stream.at + 1;
        uint16_t* label = stream.page->labels + stream.at + 1;
        uint16_t* upper_label = stream.page->upper_labels + stream.at + 1;
        int count = 0;
        for (int number = first; number < last; number += kLanes) {
            const Float here = load(row + number);
            store(row + number, splat(0.0f));
            uint32_t voted = bits(greater_equal(here, splat(kLeastVote)));
#if defined(__AVX512F__)
            const auto mask = static_cast<__mmask16>(voted);
            _mm512_storeu_si512(weight + count, _mm512_maskz_compress_epi32(mask, (__m512i)here));
            const __m512i all = _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(labels.label + number));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(label + count), _mm512_cvtepi32_epi16(all));
            if (wide != 0) {
                const __m256i upper = _mm512_cvtepi32_epi16(_mm512_srli_epi32(all, 16));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(upper_label + count), upper);
            }
            count += __builtin_popcount(voted);
#else
            for (; voted != 0; voted &= voted - 1, ++count) {
                const int lane = __builtin_ctz(voted);
                const float one = here[lane];
                std::memcpy(weight + count, &one, sizeof one);
                const auto own_label = static_cast<uint32_t>(labels.label[number + lane]);
                label[count] = static_cast<uint16_t>(own_label);
                if (wide != 0) upper_label[count] = static_cast<uint16_t>(own_label >> 16);
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
        waiting.count = waiting.rows = 0;
        bool touched[kBatch] = {};
        VoteVisitor<kWeighted> visitor{arguments,
                                       labels,
                                       waiting,
                                       arguments.votes.writers[worker],
                                       scratch.data() + static_cast<size_t>(worker) * kSums,
                                       labels.count == 1 ? 1 : (labels.count + kLanes - 1) / kLanes * kLanes,
                                       labels.greatest >> kNarrowBits != 0 ? VotePage::kWide : 0,
                                       touched,
                                       tile,
                                       0,
                                       {}};
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
