// SPDX-License-Identifier: Apache-2.0
//
// Adam (Kingma and Ba, 2015) on many tensors at once. Every number is read and written once, whatever their size: what
// counts is memory, and how often threads are started.
#pragma once

#include <cstdint>
#include <vector>

#include "core/isa.h"

namespace panoptic_gs {

struct AdamTensor {
    float* value;
    const float* gradient;
    float* mean;    // of the gradient, exp_avg
    float* square;  // of its square, exp_avg_sq
    int64_t size;
    float step_size;     // learning rate / (1 - beta1^t)
    float inverse_root;  // 1 / sqrt(1 - beta2^t)
    float beta1, beta2, epsilon;
};

// value -= step_size * mean / (sqrt(square) * inverse_root + epsilon), after gradient went into mean and square.
void adam_step(const std::vector<AdamTensor>& tensors, int threads);

#define PGS_DECLARE(isa)                                                   \
    namespace isa {                                                        \
    /* Numbers [begin, end) of a tensor. */                                \
    void adam_range(const AdamTensor& tensor, int64_t begin, int64_t end); \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
