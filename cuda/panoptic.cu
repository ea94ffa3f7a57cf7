// SPDX-License-Identifier: Apache-2.0
#include "panoptic.cuh"

#include "launching.cuh"

namespace panoptic_gs::device {

const char* render_panoptic(const TileLists& lists, const LabelRows& labels, int32_t* ranks, float* confidence,
                            float* accumulation, Queue queue) {
    const auto tiles = static_cast<unsigned>(lists.tile_width * lists.tile_height);
    if (tiles == 0) return nullptr;
    return launch_on(queue, [&](cudaStream_t stream) {
        panoptic_kernel<<<tiles, kThreads, 0, stream>>>(lists, labels, ranks, confidence, accumulation);
    });
}

}  // namespace panoptic_gs::device
