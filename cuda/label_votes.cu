// SPDX-License-Identifier: Apache-2.0
#include "label_votes.cuh"

namespace panoptic_gs::device {

const char* add_label_votes(const TileLists& lists, const int32_t* label_map, const float* weights, VoteSlots slots,
                            void* stream) {
    const int tiles = lists.tile_width * lists.tile_height;
    if (tiles == 0 || lists.num_intersections == 0) return nullptr;
    const auto queue = static_cast<cudaStream_t>(stream);
    if (weights != nullptr) {
        label_votes_kernel<true><<<static_cast<unsigned>(tiles), kThreads, 0, queue>>>(lists, label_map, weights, slots);
    } else {
        label_votes_kernel<false><<<static_cast<unsigned>(tiles), kThreads, 0, queue>>>(lists, label_map, nullptr, slots);
    }
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace panoptic_gs::device
