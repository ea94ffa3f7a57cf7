// SPDX-License-Identifier: Apache-2.0
#include "optimize/adam.h"

#include "core/simd.h"

namespace panoptic_gs::PGS_ISA {

namespace {

PGS_INLINE Float updated(const AdamTensor& tensor, Float value, Float gradient, Float& mean, Float& square) {
    mean = fma(gradient - mean, splat(1.0f - tensor.beta1), mean);
    square = fma(gradient * gradient, splat(1.0f - tensor.beta2), square * splat(tensor.beta2));
    const Float scale = fma(sqrt(square), splat(tensor.inverse_root), splat(tensor.epsilon));
    return value - splat(tensor.step_size) * mean / scale;
}

}  // namespace

void adam_range(const AdamTensor& tensor, int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
        Float mean = load(tensor.mean + i), square = load(tensor.square + i);
        const Float value = updated(tensor, load(tensor.value + i), load(tensor.gradient + i), mean, square);
        store(tensor.mean + i, mean);
        store(tensor.square + i, square);
        store(tensor.value + i, value);
    }
    if (i == end) return;
    const auto rest = static_cast<size_t>(end - i) * sizeof(float);
    float numbers[4][kLanes] = {};  // the same arithmetic, so that where a range ends shows in no bit
    const float* from[] = {tensor.value + i, tensor.gradient + i, tensor.mean + i, tensor.square + i};
    for (int k = 0; k < 4; ++k) __builtin_memcpy(numbers[k], from[k], rest);
    Float mean = load(numbers[2]), square = load(numbers[3]);
    store(numbers[0], updated(tensor, load(numbers[0]), load(numbers[1]), mean, square));
    store(numbers[2], mean);
    store(numbers[3], square);
    __builtin_memcpy(tensor.value + i, numbers[0], rest);
    __builtin_memcpy(tensor.mean + i, numbers[2], rest);
    __builtin_memcpy(tensor.square + i, numbers[3], rest);
}

}  // namespace panoptic_gs::PGS_ISA
