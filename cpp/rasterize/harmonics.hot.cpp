// SPDX-License-Identifier: Apache-2.0
#include "rasterize/harmonics.h"

#include "core/gaussian_math.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int kMostBases = 16;

// Basis values at the unit vector (x, y, z).
PGS_INLINE void basis(int degree, Float x, Float y, Float z, Float (&b)[kMostBases]) {
    b[0] = splat(0.2820947917738781f);
    if (degree < 1) return;
    b[1] = -0.48860251190292f * y;
    b[2] = 0.48860251190292f * z;
    b[3] = -0.48860251190292f * x;
    if (degree < 2) return;
    const Float xx = x * x, yy = y * y, zz = z * z;
    b[4] = 1.092548430592079f * x * y;
    b[5] = -1.092548430592079f * y * z;
    b[6] = 0.9461746957575601f * zz - 0.3153915652525201f;
    b[7] = -1.092548430592079f * x * z;
    b[8] = 0.5462742152960395f * (xx - yy);
    if (degree < 3) return;
    b[9] = -0.5900435899266435f * y * (3.0f * xx - yy);
    b[10] = 2.890611442640554f * x * y * z;
    b[11] = -0.4570457994644658f * y * (5.0f * zz - 1.0f);
    b[12] = 0.3731763325901154f * z * (5.0f * zz - 3.0f);
    b[13] = -0.4570457994644658f * x * (5.0f * zz - 1.0f);
    b[14] = 1.445305721320277f * z * (xx - yy);
    b[15] = -0.5900435899266435f * x * (xx - 3.0f * yy);
}

// The gradient in (x, y, z) of sum_k v[k] * basis_k.
PGS_INLINE void basis_gradient(int degree, Float x, Float y, Float z, const Float (&v)[kMostBases], Float (&g)[3]) {
    g[0] = g[1] = g[2] = splat(0.0f);
    if (degree < 1) return;
    g[0] = -0.48860251190292f * v[3];
    g[1] = -0.48860251190292f * v[1];
    g[2] = 0.48860251190292f * v[2];
    if (degree < 2) return;
    g[0] += 1.092548430592079f * (y * v[4] - z * v[7] + x * v[8]);
    g[1] += 1.092548430592079f * (x * v[4] - z * v[5] - y * v[8]);
    g[2] += -1.092548430592079f * (y * v[5] + x * v[7]) + 1.8923493915151202f * z * v[6];
    if (degree < 3) return;
    const Float xx = x * x, yy = y * y, zz = z * z, ring = 5.0f * zz - 1.0f;
    g[0] += -3.540261539559861f * x * y * v[9] + 2.890611442640554f * y * z * v[10] -
            0.4570457994644658f * ring * v[13] + 2.890611442640554f * x * z * v[14] -
            1.7701307697799304f * (xx - yy) * v[15];
    g[1] += -1.7701307697799304f * (xx - yy) * v[9] + 2.890611442640554f * x * z * v[10] -
            0.4570457994644658f * ring * v[11] - 2.890611442640554f * y * z * v[14] +
            3.540261539559861f * x * y * v[15];
    g[2] += 2.890611442640554f * x * y * v[10] - 4.570457994644658f * z * (y * v[11] + x * v[13]) +
            1.1195289977703462f * ring * v[12] + 1.445305721320277f * (xx - yy) * v[14];
}

struct Direction {
    Float x, y, z, inverse_norm;
};

PGS_INLINE Direction direction(const HarmonicsJob& job, int64_t first, int count) {
    const float* means = job.means + 3 * first;
    Direction d{load_strided(means, 3, count) - job.centre[0],
                load_strided(means + 1, 3, count) - job.centre[1],
                load_strided(means + 2, 3, count) - job.centre[2],
                {}};
    d.inverse_norm = splat(1.0f) / sqrt(max(d.x * d.x + d.y * d.y + d.z * d.z, splat(1e-24f)));
    d.x *= d.inverse_norm;
    d.y *= d.inverse_norm;
    d.z *= d.inverse_norm;
    return d;
}

PGS_INLINE bool visible(const HarmonicsJob& job, int64_t n) { return job.radii[2 * n] > 0 || job.radii[2 * n + 1] > 0; }

}  // namespace

void harmonics_chunk(const HarmonicsJob& job, int64_t begin, int64_t end) {
    const int used = (job.degree + 1) * (job.degree + 1);
    for (int64_t first = begin; first < end; first += kLanes) {
        const int count = static_cast<int>(end - first < kLanes ? end - first : kLanes);
        const Direction d = direction(job, first, count);
        Float b[kMostBases];
        basis(job.degree, d.x, d.y, d.z, b);
        for (int lane = 0; lane < count; ++lane) {
            const int64_t n = first + lane;
            float* out = job.colors + 3 * n;
            if (!visible(job, n)) {
                out[0] = out[1] = out[2] = 0.0f;
                continue;
            }
            const float* coeffs = job.coeffs + n * job.bases * 3;
            float color[3] = {0.5f, 0.5f, 0.5f};
            for (int k = 0; k < used; ++k)
                for (int c = 0; c < 3; ++c) color[c] += b[k][lane] * coeffs[3 * k + c];
            for (int c = 0; c < 3; ++c) out[c] = color[c] > 0.0f ? color[c] : 0.0f;
        }
    }
}

void harmonics_gradient_chunk(const HarmonicsJob& job, int64_t begin, int64_t end, float* v_centre) {
    const int used = (job.degree + 1) * (job.degree + 1);
    Float v_sum[3] = {};
    for (int64_t first = begin; first < end; first += kLanes) {
        const int count = static_cast<int>(end - first < kLanes ? end - first : kLanes);
        const Direction d = direction(job, first, count);
        Float b[kMostBases], v_basis[kMostBases] = {};
        basis(job.degree, d.x, d.y, d.z, b);
        for (int lane = 0; lane < count; ++lane) {
            const int64_t n = first + lane;
            float* v_coeffs = job.v_coeffs + n * job.bases * 3;
            const int start = job.accumulate_coeffs ? 3 * job.bases : visible(job, n) ? 3 * used : 0;
            for (int i = start; i < 3 * job.bases; ++i) v_coeffs[i] = 0.0f;
            if (!visible(job, n)) continue;
            const float* coeffs = job.coeffs + n * job.bases * 3;
            float v[3];
            for (int c = 0; c < 3; ++c) v[c] = job.colors[3 * n + c] > 0.0f ? job.v_colors[3 * n + c] : 0.0f;
            for (int k = 0; k < used; ++k) {
                const float value = b[k][lane];
                v_basis[k][lane] = coeffs[3 * k] * v[0] + coeffs[3 * k + 1] * v[1] + coeffs[3 * k + 2] * v[2];
                if (job.accumulate_coeffs)
                    for (int c = 0; c < 3; ++c) v_coeffs[3 * k + c] += value * v[c];
                else
                    for (int c = 0; c < 3; ++c) v_coeffs[3 * k + c] = value * v[c];
            }
        }
        Float g[3];
        basis_gradient(job.degree, d.x, d.y, d.z, v_basis, g);
        const Float along = g[0] * d.x + g[1] * d.y + g[2] * d.z;
        const Float axes[3] = {d.x, d.y, d.z};
        for (int i = 0; i < 3; ++i) {
            const Float v = (g[i] - along * axes[i]) * d.inverse_norm;
            v_sum[i] += v;
            float* out = job.v_means + 3 * first + i;
            for (int lane = 0; lane < count; ++lane) out[3 * lane] = job.accumulate ? out[3 * lane] + v[lane] : v[lane];
        }
    }
    for (int i = 0; i < 3; ++i) v_centre[i] -= sum(v_sum[i]);
}

}  // namespace panoptic_gs::PGS_ISA
