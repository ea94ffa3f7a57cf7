// SPDX-License-Identifier: Apache-2.0
#include "panoptic.cuh"

namespace panoptic_gs::device {

const char* render_panoptic(const TileLists& lists, const LabelRows& labels, int32_t* ranks, float* confidence,
                            float* accumulation, void* stream) {
    const int tiles = lists.tile_width * lists.tile_height;
    if (tiles == 0) return nullptr;
    panoptic_kernel<<<static_cast<unsigned>(tiles), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        lists, labels, ranks, confidence, accumulation);
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace panoptic_gs::device
