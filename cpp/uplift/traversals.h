// SPDX-License-Identifier: Apache-2.0
// The traversals of uplifting and label rendering, compiled for each instruction set.
#pragma once

#include <cstdint>

#include "core/isa.h"
#include "core/view.h"
#include "uplift/view_votes.h"
#include "uplift/vote_store.h"

namespace panoptic_gs {

// Writes the votes of a view for the labels of its pixels, of the tiles that are not yet done.
struct LabelVoteArguments {
    const View& view;
    const int32_t* labels;  // [H, W]
    const float* weights;   // [H, W] or nullptr
    ViewVotes& votes;
    uint8_t* done;  // [tiles], set where a tile's votes are written now
    int threads;
};

// Sums of blending weight x feature over the pixels of each (Gaussian, tile) pair.
struct FeatureVoteArguments {
    const View& view;
    const float* features;  // [H, W, channels]
    const float* weights;   // [H, W] or nullptr
    int64_t channels;
    int64_t first, count;  // the channels summed here
    float* sums;           // [intersections, count]
    float* totals;         // [intersections] sums of weight, or nullptr
    int threads;
};

// Per pixel the label with the largest sum of blending weight x g, ties to the smallest label.
struct PanopticArguments {
    const View& view;
    const int64_t* indptr;  // [N + 1]
    const int32_t* label;   // [nnz]
    const float* weight;    // [nnz]
    int64_t* ids;           // [H, W]
    float* confidence;      // [H, W]
    float* accumulation;    // [H, W]
    int threads;
};

#define PGS_DECLARE_UPLIFT(isa)                                                                                 \
    namespace isa {                                                                                             \
    void add_label_votes(const LabelVoteArguments& arguments);                                                  \
    /* Builds the rows of a chunk, Gaussians [begin, end), from those held and a view's votes; false if there \
       were none. Adds to the builder's numbers of pairs. */ \
    bool merge_votes(const ViewVotes& votes, int64_t chunk, const uint8_t* rows, int64_t begin, int64_t end,    \
                     RowBuilder& builder);                                                                      \
    /* The pairs of the rows of so many Gaussians, one row after another, each by ascending label, in the \
       builder's sorted labels and sums, which have room for them. */     \
    void sort_rows(const uint8_t* rows, int64_t gaussians, RowBuilder& builder);                                \
    void add_feature_votes(const FeatureVoteArguments& arguments);                                              \
    void render_panoptic(const PanopticArguments& arguments);                                                   \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE_UPLIFT)
#undef PGS_DECLARE_UPLIFT

}  // namespace panoptic_gs
