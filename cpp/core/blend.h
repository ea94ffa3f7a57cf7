// SPDX-License-Identifier: Apache-2.0
//
// The blending arithmetic, once, for host and device.
//
// A projected Gaussian is kept as a Footprint: its mean in pixels and the whitened conic, scaled so that
//
//     u = ux * dx + uy * dy,    v = vy * dy,    alpha = 2^(log2_opacity - u^2 - v^2),    (dx, dy) = pixel - mean.
//
// That is opacity * exp(-sigma) with sigma = (u^2 + v^2) ln 2, which cannot become negative by rounding, costs two
// fused multiply-adds a pixel, and turns the test alpha >= 1/255 into a comparison of the exponent.
//
// A pixel is blended front to back:
//
//     T = 1
//     for every Gaussian in depth order:
//         power = pair_power(footprint, pixel)        skip if power < kLog2AlphaMin
//         alpha = min(exp2(power), alpha_max)    a parameter: gsplat's changed from 0.999 to 0.99 with 1.6
//         next  = T - alpha * T                  if next <= kTransmittanceMin: the pixel ends WITHOUT this Gaussian
//         weight = alpha * T                     the blending weight w_i(u); colour += weight * colour_i
//         T = next
//
// Every traversal, on the host (traverse.h) or on a device, follows this. The functions are templates over the number
// type: `float` here and on a device, a SIMD vector in simd.h, which says in `Arithmetic` how it multiplies and adds.
#pragma once

#include <math.h>

#include <cstdint>

#if defined(__CUDACC__)
#define PGS_HD static __host__ __device__ __forceinline__
#else
#define PGS_HD static inline __attribute__((always_inline))
#endif

namespace panoptic_gs {

constexpr float kAlphaMin = 1.0f / 255.0f;            // a Gaussian is skipped at a pixel where alpha is below
constexpr float kLog2AlphaMin = -7.994353436858858f;  // log2(kAlphaMin)
constexpr float kAlphaMax = 0.999f;                // what alpha is clamped to, without gradient, unless asked otherwise
constexpr float kTransmittanceMin = 1e-4f;         // a pixel ends before it would fall to this
constexpr float kExtentMax = 3.33f;                // standard deviations, of the bounding box in `radii`
constexpr float kHalfLog2e = 0.7213475204444817f;  // log2(e) / 2: scales a conic to powers of two
constexpr float kPixelCentre = 0.5f;

// A Gaussian on the image plane. 32 bytes.
struct Footprint {
    float x, y;          // mean, pixels
    float ux, uy, vy;    // whitened conic: u = ux dx + uy dy, v = vy dy
    float log2_opacity;  // of the opacity that is rendered (antialiased: compensated)
    float depth;         // camera-space z
    uint32_t id;         // index of the Gaussian in the scene
};

// `a, b, c` is the inverse of the 2D covariance, [[a, b], [b, c]], as gsplat's `conics`.
PGS_HD Footprint footprint_from_conic(float x, float y, float a, float b, float c, float opacity, float depth,
                                      uint32_t id) {
    const float root = sqrtf(a);
    const float rest = c - b * b / a;
    const float scale = sqrtf(kHalfLog2e);
    return {x, y, scale * root, scale * b / root, scale * sqrtf(rest > 0.0f ? rest : 0.0f), log2f(opacity), depth, id};
}

// No alpha has to be clamped where the opacity's logarithm is no greater; the margin is above the error of exp2.
PGS_HD float log2_unclamped(float alpha_max) { return log2f(alpha_max) - 1e-6f; }

template <class Real>
struct Arithmetic {  // fused, so that host, device and every instruction set round alike
    PGS_HD Real fma(Real a, Real b, Real c) { return fmaf(a, b, c); }
    PGS_HD Real fnma(Real a, Real b, Real c) { return fmaf(-a, b, c); }  // c - a * b
};

// log2 of the unclamped alpha, from the whitened offset (u, v).
template <class Real>
PGS_HD Real power_from_whitened(Real u, Real v, Real log2_opacity) {
    return Arithmetic<Real>::fnma(u, u, Arithmetic<Real>::fnma(v, v, log2_opacity));
}

// log2 of the unclamped alpha at the pixel centre (px, py).
PGS_HD float pair_power(const Footprint& g, float px, float py) {
    const float dx = px - g.x, dy = py - g.y;
    return power_from_whitened(fmaf(g.ux, dx, g.uy * dy), g.vy * dy, g.log2_opacity);
}

// Transmittance behind a Gaussian of this alpha.
template <class Real>
PGS_HD Real next_transmittance(Real alpha, Real transmittance) {
    return Arithmetic<Real>::fnma(alpha, transmittance, transmittance);
}

}  // namespace panoptic_gs
