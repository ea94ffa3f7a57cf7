// SPDX-License-Identifier: Apache-2.0
// What the device can do, for benchmarks to compare with: atomic additions of 64 bits at scattered addresses.
#pragma once

#include "device.h"

namespace panoptic_gs::device {

__global__ void __launch_bounds__(kThreads)
    atomic_adds_kernel(unsigned long long* counters, unsigned num_counters, int rounds) {
    unsigned at = (blockIdx.x * static_cast<unsigned>(kThreads) + threadIdx.x) * 2654435761u;
    for (int i = 0; i < rounds; ++i) {
        at = at * 1664525u + 1013904223u;
        atomicAdd(counters + (at >> 7 & (num_counters - 1u)), 1ull);
    }
}

}  // namespace panoptic_gs::device
