// SPDX-License-Identifier: Apache-2.0
// What all views say of the Gaussians, asked of the packed rows themselves: they take 8 bytes a pair, and a long capture
// of many objects has a hundred million pairs before it is known which of its views erred.
#pragma once

#include <cstdint>
#include <vector>

#include "uplift/vote_store.h"

namespace panoptic_gs {

// The labels that occur, ascending.
std::vector<int32_t> labels_of(const VoteStore& store);

// The label with the largest sum of each Gaussian [N], the lowest of equals; 0 where there is none.
void write_strongest(const VoteStore& store, int threads, int64_t* best);

// What one view says, which is part of the store's sums: pairs that ascend by Gaussian, then by label.
struct OwnWord {
    int64_t count;
    const int64_t* gaussian;
    const int32_t* label;
    const int64_t* units;
    const double* weight;  // the view's votes for the pair
};

// How much of it is heard, 0 ... 1 [count] (panoptic_gs.refine.overlooked.Said.heard); `labels` as labels_of gives them.
// Sums are taken in order of the pairs, by one thread, so no bit depends on the number of threads. Throws
// std::invalid_argument where a pair is not in the store.
void write_heard(const VoteStore& store, const std::vector<int32_t>& labels, const OwnWord& own, double power,
                 double missed, double* heard);

}  // namespace panoptic_gs
