// SPDX-License-Identifier: Apache-2.0
//
// Structural similarity (SSIM, Wang et al. 2004) of two images with an 11 x 11 Gaussian window, sigma 1.5, values 0 to
// 1, only where the window fits. With blurred moments m1, m2, e11, e22, e12 of images x and y,
//
//     S = (2 m1 m2 + C1) (2 s12 + C2) / ((m1^2 + m2^2 + C1) (s11 + s22 + C2)),    s12 = e12 - m1 m2 and so on.
//
// dS/dx at a pixel is the blur of dS/dm1, plus 2 x times that of dS/de11, plus y times that of dS/de12.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace panoptic_gs {

constexpr int kWindow = 11;

struct SimilarityJob {
    int height, width, channels;
    const float* x;  // [H, W, C]
    const float* y;
    // dS/dm1, dS/de11, dS/de12: [H - 10, W - 10, C] each; written unless null, read by the gradient
    float* slopes[3];
    float* v_x;     // [H, W, C], gradient only
    float v_scale;  // what the gradient is multiplied by
    float weights[kWindow];

    int64_t row() const { return static_cast<int64_t>(width) * channels; }
    int64_t inner_row() const { return static_cast<int64_t>(width - kWindow + 1) * channels; }
};

#define PGS_DECLARE(isa)                                                                               \
    namespace isa {                                                                                    \
    /* Sum of S over rows [begin, end) of the inner image. `scratch`: 5 rows of the image for each. */ \
    double similarity_rows(const SimilarityJob& job, int begin, int end, float* scratch);              \
    /* Rows [begin, end) of v_x. `scratch`: for each, 3 rows of the image and 10 pixels more. */       \
    void similarity_gradient_rows(const SimilarityJob& job, int begin, int end, float* scratch);       \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
