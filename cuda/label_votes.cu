// SPDX-License-Identifier: Apache-2.0
#include "label_votes.cuh"

#include "launching.cuh"

namespace panoptic_gs::device {

const char* add_label_votes(const TileLists& lists, const int32_t* label_map, const float* weights, VoteSlots slots,
                            Queue queue) {
    const auto tiles = static_cast<unsigned>(lists.tile_width * lists.tile_height);
    if (tiles == 0 || lists.num_intersections == 0) return nullptr;
    return launch_on(queue, [&](cudaStream_t stream) {
        if (weights != nullptr) {
            label_votes_kernel<true><<<tiles, kThreads, 0, stream>>>(lists, label_map, weights, slots);
        } else {
            label_votes_kernel<false><<<tiles, kThreads, 0, stream>>>(lists, label_map, nullptr, slots);
        }
    });
}

}  // namespace panoptic_gs::device
