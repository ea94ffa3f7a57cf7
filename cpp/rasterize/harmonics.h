// SPDX-License-Identifier: Apache-2.0
//
// Spherical harmonics of degree 0 to 3 in the basis and order of 3D Gaussian Splatting, as colours: + 0.5, clamped at
// 0.
#pragma once

#include "core/isa.h"
#include "core/view.h"

namespace panoptic_gs {

struct HarmonicsJob {
    int64_t count;
    int degree;
    int bases;               // K >= (degree + 1)^2, of the coefficient array
    const float* means;      // [N, 3]
    float centre[3];         // of the camera
    const float* coeffs;     // [N, K, 3]
    const int32_t* radii;    // [N, 2]; culled Gaussians are black
    float* colors;           // [N, 3]: result, or what the forward pass gave
    const float* v_colors;   // [N, 3], gradient only
    float* v_coeffs;         // [N, K, 3]
    float* v_means;          // [N, 3]
    bool accumulate;         // add to v_means
    bool accumulate_coeffs;  // add to v_coeffs
};

#define PGS_DECLARE(isa)                                                                                 \
    namespace isa {                                                                                      \
    void harmonics_chunk(const HarmonicsJob& job, int64_t begin, int64_t end);                           \
    /* Adds dL/dcentre to `v_centre` [3]. */                                                             \
    void harmonics_gradient_chunk(const HarmonicsJob& job, int64_t begin, int64_t end, float* v_centre); \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
