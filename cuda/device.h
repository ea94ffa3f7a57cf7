// SPDX-License-Identifier: Apache-2.0
// What the device kernels need of CUDA. The tests compile the same kernels for the host, with PGS_CUDA_EMULATION naming
// a header that stands in for the CUDA runtime.
#pragma once

#ifdef PGS_CUDA_EMULATION
#include "emulation.h"
#else
#include <cuda_runtime.h>
#endif

#include <cstdint>

namespace panoptic_gs::device {

constexpr int kTileSide = 16;
constexpr int kThreads = kTileSide * kTileSide;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kFullWarp = 0xFFFFFFFFu;

__device__ inline uint32_t warp_sum(uint32_t value) {
#if defined(PGS_CUDA_EMULATION) || __CUDA_ARCH__ >= 800
    return __reduce_add_sync(kFullWarp, value);
#else
    for (int step = 16; step > 0; step >>= 1) value += __shfl_xor_sync(kFullWarp, value, step);
    return value;
#endif
}

}  // namespace panoptic_gs::device
