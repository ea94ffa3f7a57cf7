// SPDX-License-Identifier: Apache-2.0
// A launch on the device of its arguments, and what became of it. CUDA alone, no emulation.
#pragma once

#include <cuda_runtime.h>

#include "launch.h"

namespace panoptic_gs::device {

// Calls `launch(stream)`. The runtime that is linked in here is not torch's, so the device is named again: a stream of
// one device is no stream of another.
template <class Launch>
const char* launch_on(Queue queue, Launch launch) {
    cudaError_t error = cudaSetDevice(queue.device);
    if (error == cudaSuccess) {
        launch(static_cast<cudaStream_t>(queue.stream));
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace panoptic_gs::device
