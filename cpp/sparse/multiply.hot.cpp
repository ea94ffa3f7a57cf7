// SPDX-License-Identifier: Apache-2.0
#include "core/simd.h"
#include "sparse/sparse.h"

namespace panoptic_gs::PGS_ISA {

namespace {

// Channels [first, first + kCount * kLanes) of a row of the product.
template <int kCount>
PGS_INLINE void multiply_row(const SparseRows& matrix, const float* dense, int64_t channels, int64_t row, int64_t first,
                             float* out) {
    Float sums[kCount];
    for (int j = 0; j < kCount; ++j) sums[j] = splat(0.0f);
    for (int64_t entry = matrix.indptr[row]; entry < matrix.indptr[row + 1]; ++entry) {
        const float* from = dense + matrix.column[entry] * channels + first;
        const Float weight = splat(matrix.weight[entry]);
        for (int j = 0; j < kCount; ++j) sums[j] = fma(weight, load(from + j * kLanes), sums[j]);
    }
    for (int j = 0; j < kCount; ++j) store(out + row * channels + first + j * kLanes, sums[j]);
}

// Fewer channels than a vector has lanes, or the last ones.
template <int kCount>
PGS_INLINE void multiply_few(const SparseRows& matrix, const float* dense, int64_t channels, int64_t row, int64_t first,
                             float* out) {
    float sums[kCount] = {};
    for (int64_t entry = matrix.indptr[row]; entry < matrix.indptr[row + 1]; ++entry) {
        const float* from = dense + matrix.column[entry] * channels + first;
        const float weight = matrix.weight[entry];
        for (int j = 0; j < kCount; ++j) sums[j] += weight * from[j];
    }
    for (int j = 0; j < kCount; ++j) out[row * channels + first + j] = sums[j];
}

}  // namespace

void multiply_rows(const SparseRows& matrix, const float* dense, int64_t channels, int64_t begin, int64_t end,
                   float* out) {
    for (int64_t row = begin; row < end; ++row) {
        int64_t c = 0;
        for (; c + 4 * kLanes <= channels; c += 4 * kLanes) multiply_row<4>(matrix, dense, channels, row, c, out);
        for (; c + kLanes <= channels; c += kLanes) multiply_row<1>(matrix, dense, channels, row, c, out);
        for (; c + 4 <= channels; c += 4) multiply_few<4>(matrix, dense, channels, row, c, out);
        for (; c < channels; ++c) multiply_few<1>(matrix, dense, channels, row, c, out);
    }
}

}  // namespace panoptic_gs::PGS_ISA
