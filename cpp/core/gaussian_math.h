// SPDX-License-Identifier: Apache-2.0
//
// The projection of kLanes Gaussians at once, with what its gradient needs again.
#pragma once

#include "core/project.h"
#include "core/simd.h"

namespace panoptic_gs::PGS_ISA {

// Lane l becomes p[l * stride]; lanes from `count` on repeat the last one.
PGS_INLINE Float load_strided(const float* p, int64_t stride, int count) {
    Float x;
    for (int lane = 0; lane < kLanes; ++lane) x[lane] = p[(lane < count ? lane : count - 1) * stride];
    return x;
}

PGS_INLINE Mask first_lanes(int count) {  // none below 0, all from kLanes on
    const int lanes = count < 0 ? 0 : count > kLanes ? kLanes : count;
    return mask_from_bits((1u << lanes) - 1u);
}

// log2 of positive normal numbers, absolute error below 2e-7.
PGS_INLINE Float log2(Float x) {
    const Int shifted = bits_of(x) - 0x3f3504f3;  // bits of sqrt(1/2): the mantissa ends in [sqrt(1/2), sqrt(2))
    const Int exponent = shifted >> 23;
    const Float m = float_of(bits_of(x) - (exponent << 23));
    const Float t = (m - 1.0f) / (m + 1.0f), tt = t * t;
    Float r = splat(0.32059889f);  // 2 / (9 ln 2), and so on: the series of atanh
    r = fma(r, tt, splat(0.41219858f));
    r = fma(r, tt, splat(0.57707802f));
    r = fma(r, tt, splat(0.96179669f));
    r = fma(r, tt, splat(2.88539008f));
    return fma(r, t, __builtin_convertvector(exponent, Float));
}

struct Projected {
    Float x, y, z;                         // camera space
    Float inverse_z, tx, ty;               // tx, ty: x / z and y / z, clamped for the Jacobian
    Float qw, qx, qy, qz, inverse_norm;    // quaternion, normalised
    Float rotation[3][3];                  // of the Gaussian
    Float frame[3][3];                     // camera rotation * rotation * scales
    Float half[2][3];                      // Jacobian * frame: covariance = half * half^T
    Float xx, xy, yy;                      // covariance, low-pass included
    Float sharp_determinant, determinant;  // without and with the low-pass
    Float inputs;                          // their sum: finite if they are
};

PGS_INLINE void project_lanes(const Gaussians& gaussians, const ProjectionConstants& constants, int64_t first,
                              int count, Projected& p) {
    const float* R = constants.camera.rotation;
    const float* means = gaussians.means + 3 * first;
    const Float mx = load_strided(means, 3, count), my = load_strided(means + 1, 3, count),
                mz = load_strided(means + 2, 3, count);
    const float* t = constants.camera.translation;
    p.x = fma(splat(R[0]), mx, fma(splat(R[1]), my, fma(splat(R[2]), mz, splat(t[0]))));
    p.y = fma(splat(R[3]), mx, fma(splat(R[4]), my, fma(splat(R[5]), mz, splat(t[1]))));
    p.z = fma(splat(R[6]), mx, fma(splat(R[7]), my, fma(splat(R[8]), mz, splat(t[2]))));
    p.inverse_z = splat(1.0f) / p.z;
    p.tx = min(max(p.x * p.inverse_z, splat(constants.x_min)), splat(constants.x_max));
    p.ty = min(max(p.y * p.inverse_z, splat(constants.y_min)), splat(constants.y_max));

    const float* quats = gaussians.quats + 4 * first;
    Float w = load_strided(quats, 4, count), x = load_strided(quats + 1, 4, count),
          y = load_strided(quats + 2, 4, count), z = load_strided(quats + 3, 4, count);
    p.inputs = (mx + my + mz) + (w + x + y + z);
    p.inverse_norm = splat(1.0f) / sqrt(fma(w, w, fma(x, x, fma(y, y, z * z))));
    p.qw = w = w * p.inverse_norm;
    p.qx = x = x * p.inverse_norm;
    p.qy = y = y * p.inverse_norm;
    p.qz = z = z * p.inverse_norm;
    p.rotation[0][0] = 1.0f - 2.0f * (y * y + z * z);
    p.rotation[0][1] = 2.0f * (x * y - w * z);
    p.rotation[0][2] = 2.0f * (x * z + w * y);
    p.rotation[1][0] = 2.0f * (x * y + w * z);
    p.rotation[1][1] = 1.0f - 2.0f * (x * x + z * z);
    p.rotation[1][2] = 2.0f * (y * z - w * x);
    p.rotation[2][0] = 2.0f * (x * z - w * y);
    p.rotation[2][1] = 2.0f * (y * z + w * x);
    p.rotation[2][2] = 1.0f - 2.0f * (x * x + y * y);

    const float* scales = gaussians.scales + 3 * first;
    const Float fx = constants.camera.fx * p.inverse_z, fy = constants.camera.fy * p.inverse_z;
    for (int k = 0; k < 3; ++k) {
        const Float scale = load_strided(scales + k, 3, count);
        p.inputs += scale;
        for (int i = 0; i < 3; ++i)
            p.frame[i][k] = scale * fma(splat(R[3 * i]), p.rotation[0][k],
                                        fma(splat(R[3 * i + 1]), p.rotation[1][k], R[3 * i + 2] * p.rotation[2][k]));
        p.half[0][k] = fx * fnma(p.tx, p.frame[2][k], p.frame[0][k]);
        p.half[1][k] = fy * fnma(p.ty, p.frame[2][k], p.frame[1][k]);
    }
    const auto& a = p.half[0];
    const auto& b = p.half[1];
    const Float eps = splat(constants.options.eps2d);
    const Float xx = fma(a[0], a[0], fma(a[1], a[1], a[2] * a[2]));
    const Float yy = fma(b[0], b[0], fma(b[1], b[1], b[2] * b[2]));
    p.xy = fma(a[0], b[0], fma(a[1], b[1], a[2] * b[2]));
    // |a|^2 |b|^2 - (a.b)^2 = |a x b|^2: nothing cancels, however thin the ellipse.
    const Float c0 = a[1] * b[2] - a[2] * b[1], c1 = a[2] * b[0] - a[0] * b[2], c2 = a[0] * b[1] - a[1] * b[0];
    p.sharp_determinant = fma(c0, c0, fma(c1, c1, c2 * c2));
    p.determinant = fma(eps, xx + yy + eps, p.sharp_determinant);
    p.xx = xx + eps;
    p.yy = yy + eps;
}

}  // namespace panoptic_gs::PGS_ISA
