// SPDX-License-Identifier: Apache-2.0
//
// A row of interleaved channels is one array: the window's columns lie `channels` apart, whatever their number.
#include "image/similarity.h"

#include "core/simd.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

// A whole vector, or the last `count` numbers of a row (and zeros).
struct Whole {
    __attribute__((always_inline)) Float get(const float* p) const { return load(p); }
    __attribute__((always_inline)) void put(float* p, Float x) const { store(p, x); }
};
struct Rest {
    int64_t count;
    __attribute__((always_inline)) Float get(const float* p) const {
        Float x{};
        for (int i = 0; i < count; ++i) x[i] = p[i];
        return x;
    }
    __attribute__((always_inline)) void put(float* p, Float x) const {
        for (int i = 0; i < count; ++i) p[i] = x[i];
    }
};

// Calls function(j, Whole or Rest) for the vectors of [begin, end).
template <class Function>
PGS_INLINE void for_each_vector(int64_t begin, int64_t end, Function&& function) {
    int64_t j = begin;
    for (; j + kLanes <= end; j += kLanes) function(j, Whole{});
    if (j < end) function(j, Rest{end - j});
}

struct Window {
    Float weights[kWindow];
    __attribute__((always_inline)) explicit Window(const SimilarityJob& job) {
        for (int k = 0; k < kWindow; ++k) weights[k] = splat(job.weights[k]);
    }
};

}  // namespace

// Columns of a strip: the rows that a band of output rows needs stay in the first-level cache.
constexpr int64_t kStrip = 128;

double similarity_rows(const SimilarityJob& job, int begin, int end, float* scratch) {
    const int64_t row = job.row(), inner_row = job.inner_row();
    const Window window(job);
    for (int64_t strip = 0; strip < row; strip += kStrip)
        for (int r = begin; r < end; ++r) {
            float* blurred = scratch + 5 * (r - begin) * row;
            for_each_vector(
                strip,
                strip + kStrip < row ? strip + kStrip : row, [&](int64_t j, auto lanes) __attribute__((always_inline)) {
                    const float* x = job.x + r * row + j;
                    const float* y = job.y + r * row + j;
                    Float m[5] = {};
#pragma GCC unroll 11
                    for (int k = 0; k < kWindow; ++k) {
                        const Float a = lanes.get(x + k * row), b = lanes.get(y + k * row);
                        const Float wa = window.weights[k] * a, wb = window.weights[k] * b;
                        m[0] += wa;
                        m[1] += wb;
                        m[2] = fma(wa, a, m[2]);
                        m[3] = fma(wb, b, m[3]);
                        m[4] = fma(wa, b, m[4]);
                    }
                    for (int q = 0; q < 5; ++q) lanes.put(blurred + q * row + j, m[q]);
                });
        }
    double total = 0.0;
    for (int r = begin; r < end; ++r) {
        const float* blurred = scratch + 5 * (r - begin) * row;
        Float sums{};
        for_each_vector(
            0, inner_row, [&](int64_t j, auto lanes) __attribute__((always_inline)) {
                Float m[5] = {};
#pragma GCC unroll 11
                for (int k = 0; k < kWindow; ++k)
                    for (int q = 0; q < 5; ++q)
                        m[q] = fma(window.weights[k], lanes.get(blurred + q * row + j + k * job.channels), m[q]);
                const Float m1 = m[0], m2 = m[1];
                const Float s11 = fnma(m1, m1, m[2]), s22 = fnma(m2, m2, m[3]), s12 = fnma(m1, m2, m[4]);
                const Float a1 = 2.0f * m1 * m2 + kC1, a2 = 2.0f * s12 + kC2;
                const Float b1 = fma(m1, m1, m2 * m2) + kC1, b2 = s11 + s22 + kC2;
                const Float inverse1 = 1.0f / b1, inverse2 = 1.0f / b2;
                const Float contrast = a2 * inverse2, value = a1 * inverse1 * contrast;
                float kept[kLanes] = {};
                lanes.put(kept, value);
                sums += load(kept);
                if (job.slopes[0] == nullptr) return;
                const Float by_e11 = -value * inverse2, by_e12 = 2.0f * a1 * inverse1 * inverse2;
                const Float by_m1 = 2.0f * inverse1 * (m2 * contrast - m1 * value) - (2.0f * m1 * by_e11 + m2 * by_e12);
                lanes.put(job.slopes[0] + r * inner_row + j, by_m1);
                lanes.put(job.slopes[1] + r * inner_row + j, by_e11);
                lanes.put(job.slopes[2] + r * inner_row + j, by_e12);
            });
        for (int i = 0; i < kLanes; ++i) total += sums[i];
    }
    return total;
}

void similarity_gradient_rows(const SimilarityJob& job, int begin, int end, float* scratch) {
    const int64_t row = job.row(), inner_row = job.inner_row();
    const int64_t margin = static_cast<int64_t>(kWindow - 1) * job.channels;
    const int64_t padded = inner_row + 2 * margin;  // zeros beyond both ends
    const Window window(job);
    const int inner_height = job.height - kWindow + 1;
    for (int i = 0; i < 3 * (end - begin); ++i)
        for (int64_t j = 0; j < margin; ++j) scratch[i * padded + j] = scratch[(i + 1) * padded - 1 - j] = 0.0f;
    for (int64_t strip = 0; strip < inner_row; strip += kStrip)
        for (int r = begin; r < end; ++r) {
            float* blurred = scratch + 3 * (r - begin) * padded + margin;
            const int first = r - kWindow + 1 > 0 ? r - kWindow + 1 : 0;
            const int last = r < inner_height - 1 ? r : inner_height - 1;
            for_each_vector(
                strip, strip + kStrip < inner_row ? strip + kStrip : inner_row,
                [&](int64_t j, auto lanes) __attribute__((always_inline)) {
                    Float m[3] = {};
                    for (int i = first; i <= last; ++i)
                        for (int q = 0; q < 3; ++q)
                            m[q] = fma(splat(job.weights[r - i]), lanes.get(job.slopes[q] + i * inner_row + j), m[q]);
                    for (int q = 0; q < 3; ++q) lanes.put(blurred + q * padded + j, m[q]);
                });
        }
    for (int r = begin; r < end; ++r) {
        const float* blurred = scratch + 3 * (r - begin) * padded;
        for_each_vector(
            0, row, [&](int64_t j, auto lanes) __attribute__((always_inline)) {
                Float m[3] = {};
#pragma GCC unroll 11
                for (int k = 0; k < kWindow; ++k)
                    for (int q = 0; q < 3; ++q)
                        m[q] = fma(window.weights[k], lanes.get(blurred + q * padded + j + k * job.channels), m[q]);
                const Float x = lanes.get(job.x + r * row + j), y = lanes.get(job.y + r * row + j);
                lanes.put(job.v_x + r * row + j, (m[0] + 2.0f * x * m[1] + y * m[2]) * splat(job.v_scale));
            });
    }
}

}  // namespace panoptic_gs::PGS_ISA
