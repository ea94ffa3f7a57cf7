// SPDX-License-Identifier: Apache-2.0
#include "core/peak.h"

#include "core/simd.h"

namespace panoptic_gs::PGS_ISA {

double multiply_add(int64_t rounds, float* sink) {
    constexpr int kChains = 12;  // more than latency times throughput of any processor so far, few enough for registers
    Float x[kChains];
    for (int i = 0; i < kChains; ++i) x[i] = splat(static_cast<float>(i));
    const Float a = splat(0.999f), b = splat(0.001f);
    for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) x[i] = fma(x[i], a, b);
    Float total = x[0];
    for (int i = 1; i < kChains; ++i) total += x[i];
    store(sink, total);
    return 2.0 * static_cast<double>(rounds) * kChains * kLanes;
}

}  // namespace panoptic_gs::PGS_ISA
