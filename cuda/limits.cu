// SPDX-License-Identifier: Apache-2.0
#include "limits.cuh"

#include "launching.cuh"

namespace panoptic_gs::device {

const char* atomic_adds(unsigned long long* counters, unsigned num_counters, int64_t threads, int rounds, Queue queue) {
    if (threads <= 0) return nullptr;
    const auto blocks = static_cast<unsigned>((threads + kThreads - 1) / kThreads);
    return launch_on(queue, [&](cudaStream_t stream) {
        atomic_adds_kernel<<<blocks, kThreads, 0, stream>>>(counters, num_counters, rounds);
    });
}

}  // namespace panoptic_gs::device
