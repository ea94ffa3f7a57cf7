// SPDX-License-Identifier: Apache-2.0
//
// Whole views: the threaded passes over the kernels of raster.h and harmonics.h.
#pragma once

#include <vector>

#include "rasterize/harmonics.h"
#include "rasterize/raster.h"

namespace panoptic_gs {

struct ColorSource {
    const float* values;  // [N, channels]
    int channels;
};

// An image of some of the channels, or null where nothing depends on it.
struct ImageGradient {
    const float* values;  // [H, W, channels]
    int channels;
};

struct ColorGradient {
    float* values;  // [N, channels]
    int channels;
    bool accumulate;
};

// image [H, W, D] with the sources' channels side by side, alpha [H, W]; `state` is filled for the gradient if given.
void paint(const View& view, const std::vector<ColorSource>& sources, const float* background, int threads,
           float* image, float* alpha, PixelState* state);

PairCounts count_pairs(const View& view, int threads);

// The Gaussian of each pixel with which its sum of weights reaches `share`, -1 where it does not: out [H, W].
void find_crossings(const View& view, float share, int threads, int32_t* out);

// Writes `out` (its accumulate, channels and colors are set here) and the colours' gradients. `v_images` have the sources'
// channels between them, in their order.
void paint_gradient(const View& view, const std::vector<ColorSource>& sources, const float* background,
                    const PixelState& state, const std::vector<ImageGradient>& v_images, const float* v_alpha,
                    int threads, GaussianGradients out, const std::vector<ColorGradient>& v_sources);

// `v_viewmat` [12] is added to, unless null.
void project_gradient(const Gaussians& gaussians, const ProjectionConstants& constants,
                      const ProjectionGradientJob& job, int threads, float* v_viewmat);

void harmonics(const HarmonicsJob& job, int threads);
void harmonics_gradient(const HarmonicsJob& job, int threads, float* v_centre);  // adds to v_centre [3]

}  // namespace panoptic_gs
