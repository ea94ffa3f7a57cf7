// SPDX-License-Identifier: Apache-2.0
//
// A row of interleaved channels is one array: the window's columns lie `channels` apart, whatever their number.
#include "image/similarity.h"

#include "core/simd.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

// A vector at p, or its first `count` numbers and zeros.
PGS_INLINE Float load_part(const float* p, int64_t count) {
    if (count >= kLanes) return load(p);
    Float x{};
    for (int i = 0; i < count; ++i) x[i] = p[i];
    return x;
}
PGS_INLINE void store_part(float* p, Float x, int64_t count) {
    if (count >= kLanes) return store(p, x);
    for (int i = 0; i < count; ++i) p[i] = x[i];
}

}  // namespace

double similarity_rows(const SimilarityJob& job, int begin, int end, float* scratch) {
    const int64_t row = job.row(), inner_row = job.inner_row();
    float* const blurred[5] = {scratch, scratch + row, scratch + 2 * row, scratch + 3 * row, scratch + 4 * row};
    Float weights[kWindow];
    for (int k = 0; k < kWindow; ++k) weights[k] = splat(job.weights[k]);
    double total = 0.0;
    for (int r = begin; r < end; ++r) {
        for (int64_t j = 0; j < row; j += kLanes) {
            const float* x = job.x + r * row + j;
            const float* y = job.y + r * row + j;
            Float m[5] = {};
            for (int k = 0; k < kWindow; ++k) {
                const Float a = load_part(x + k * row, row - j), b = load_part(y + k * row, row - j);
                const Float wa = weights[k] * a, wb = weights[k] * b;
                m[0] += wa;
                m[1] += wb;
                m[2] = fma(wa, a, m[2]);
                m[3] = fma(wb, b, m[3]);
                m[4] = fma(wa, b, m[4]);
            }
            for (int q = 0; q < 5; ++q) store_part(blurred[q] + j, m[q], row - j);
        }
        Float sums{};
        for (int64_t j = 0; j < inner_row; j += kLanes) {
            const int64_t count = inner_row - j;
            Float m[5] = {};
            for (int k = 0; k < kWindow; ++k)
                for (int q = 0; q < 5; ++q)
                    m[q] = fma(weights[k], load_part(blurred[q] + j + k * job.channels, count), m[q]);
            const Float m1 = m[0], m2 = m[1];
            const Float s11 = fnma(m1, m1, m[2]), s22 = fnma(m2, m2, m[3]), s12 = fnma(m1, m2, m[4]);
            const Float a1 = 2.0f * m1 * m2 + kC1, a2 = 2.0f * s12 + kC2;
            const Float b1 = fma(m1, m1, m2 * m2) + kC1, b2 = s11 + s22 + kC2;
            const Float inverse1 = 1.0f / b1, inverse2 = 1.0f / b2;
            const Float contrast = a2 * inverse2, value = a1 * inverse1 * contrast;
            if (count >= kLanes)
                sums += value;
            else
                for (int i = 0; i < count; ++i) sums[i] += value[i];
            if (job.slopes[0] == nullptr) continue;
            const Float by_e11 = -value * inverse2, by_e12 = 2.0f * a1 * inverse1 * inverse2;
            const Float by_m1 = 2.0f * (m2 * contrast * inverse1 - m1 * value * inverse1) -
                                (2.0f * m1 * by_e11 + m2 * by_e12);
            store_part(job.slopes[0] + r * inner_row + j, by_m1, count);
            store_part(job.slopes[1] + r * inner_row + j, by_e11, count);
            store_part(job.slopes[2] + r * inner_row + j, by_e12, count);
        }
        for (int i = 0; i < kLanes; ++i) total += sums[i];
    }
    return total;
}

void similarity_gradient_rows(const SimilarityJob& job, int begin, int end, float* scratch) {
    const int64_t row = job.row(), inner_row = job.inner_row();
    const int64_t margin = static_cast<int64_t>(kWindow - 1) * job.channels;
    const int64_t padded = inner_row + 2 * margin;  // zeros beyond both ends
    float* const blurred[3] = {scratch, scratch + padded, scratch + 2 * padded};
    Float weights[kWindow];
    for (int k = 0; k < kWindow; ++k) weights[k] = splat(job.weights[k]);
    const int inner_height = job.height - kWindow + 1;
    for (int q = 0; q < 3; ++q)
        for (int64_t j = 0; j < margin; ++j) blurred[q][j] = blurred[q][padded - 1 - j] = 0.0f;
    for (int r = begin; r < end; ++r) {
        const int first = r - kWindow + 1 > 0 ? r - kWindow + 1 : 0, last = r < inner_height - 1 ? r : inner_height - 1;
        for (int64_t j = 0; j < inner_row; j += kLanes) {
            Float m[3] = {};
            for (int i = first; i <= last; ++i)
                for (int q = 0; q < 3; ++q)
                    m[q] = fma(weights[r - i], load_part(job.slopes[q] + i * inner_row + j, inner_row - j), m[q]);
            for (int q = 0; q < 3; ++q) store_part(blurred[q] + margin + j, m[q], inner_row - j);
        }
        for (int64_t j = 0; j < row; j += kLanes) {
            const int64_t count = row - j;
            Float m[3] = {};
            for (int k = 0; k < kWindow; ++k)
                for (int q = 0; q < 3; ++q)
                    m[q] = fma(weights[k], load_part(blurred[q] + j + k * job.channels, count), m[q]);
            const Float x = load_part(job.x + r * row + j, count), y = load_part(job.y + r * row + j, count);
            const Float v = m[0] + 2.0f * x * m[1] + y * m[2];
            store_part(job.v_x + r * row + j, v * splat(job.v_scale), count);
        }
    }
}

}  // namespace panoptic_gs::PGS_ISA
