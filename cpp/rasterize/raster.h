// SPDX-License-Identifier: Apache-2.0
//
// Colours of a view, forward and backward.
#pragma once

#include "core/project.h"

namespace panoptic_gs {

constexpr int kMaxChannels = 8;  // blended at once; more are blended in several passes

// What the backward pass reads again, block by block: pixel k of block b of tile t is at (t * kBlocks + b) * 64 + k.
struct PixelState {
    Buffer<float> transmittance;  // behind the last Gaussian
    Buffer<int32_t> last;         // position within the tile's list of the last blended Gaussian, -1 for none
};

struct PairCounts {
    int64_t evaluated, blended;
};

struct PaintJob {
    const View* view;
    const float* colors;  // [visible, stride] by rank, of which `channels` are blended
    int channels, stride;
    const float* background;  // [channels] or null
    float* image;             // [H, W, image_channels], already advanced to the first channel
    int image_channels;
    float* alpha;       // [H, W] or null
    PixelState* state;  // or null
};

// Sums over pixels for one (Gaussian, tile) pair; `kGeometry` numbers, then one per channel.
//     s = alpha * dL/dalpha where alpha is not clamped, (dx, dy) = pixel - mean
//     [0] sum s, [1] sum s dx, [2] sum s dx^2, [3] sum s dy, [4] sum s dx dy, [5] sum s dy^2,
//     [6] sum |dL/dmean_x|, [7] sum |dL/dmean_y| (absgrad only), [8 + c] dL/dcolour_c
constexpr int kGeometry = 8;
constexpr int kPairGradient = kGeometry + kMaxChannels;

struct PaintGradientJob {
    const View* view;
    const float* colors;
    int channels, stride;
    const float* background;
    const float* v_channels[kMaxChannels];  // each channel of the first pixel, or null for zeros
    int v_steps[kMaxChannels];              // from pixel to pixel
    const float* v_alpha;                   // [H, W] or null
    const PixelState* state;
    bool absgrad;
    float* pair_gradients;  // [intersections, kPairGradient], written where `touched`
    uint8_t* touched;       // [intersections]
};

// Where a channel's gradient goes: element n of Gaussian n, `stride` apart.
struct ChannelGradient {
    float* values;
    int64_t stride;
    bool accumulate;  // add: the colours are shared by several cameras
};

// Dense over the scene, zero where culled.
struct GaussianGradients {
    float* means2d;      // [N, 2]
    float* means2d_abs;  // [N, 2] or null
    float* conics;       // [N, 3]
    float* opacities;    // [N]
    bool accumulate;     // add: further channels of the same view
    int channels;
    ChannelGradient colors[kMaxChannels];
};

struct ProjectionGradientJob {
    const float* v_means2d;        // [N, 2]
    const float* v_depths;         // [N] or null
    const float* v_conics;         // [N, 3]
    const float* v_compensations;  // [N] or null
    const int32_t* radii;          // [N, 2]
    bool accumulate;               // add to the outputs (cameras after the first)
    float* v_means;                // [N, 3]
    float* v_quats;                // [N, 4]
    float* v_scales;               // [N, 3]
};

#define PGS_DECLARE(isa)                                                                                         \
    namespace isa {                                                                                              \
    void paint_tile(const PaintJob& job, int tile);                                                              \
    /* (Gaussian, pixel) pairs of a tile: blended, and all of the blocks that were looked at. */                 \
    PairCounts count_tile_pairs(const View& view, int tile);                                                     \
    /* Of a tile's pixels, the Gaussian with which the sum of weights reaches `share`, -1 for none: out [H, W]. */  \
    void find_crossing(const View& view, float share, int32_t* out, int tile);                                   \
    void paint_tile_gradient(const PaintGradientJob& job, int tile);                                             \
    /* Sums the pairs of ranks [begin, end), each over its tiles in order. */                                    \
    void sum_pair_gradients(const View& view, const float* pair_gradients, const uint8_t* touched,               \
                            const GaussianGradients& out, int64_t begin, int64_t end);                           \
    /* Zeros for the culled ones of Gaussians [begin, end). */                                                   \
    void clear_culled_gradients(const View& view, const GaussianGradients& out, int64_t begin, int64_t end);     \
    /* `v_viewmat` [12]: rotation rows and translation as a 3 x 4 matrix; added to, unless null. */              \
    void project_gradient_chunk(const Gaussians& gaussians, const ProjectionConstants& constants,                \
                                const ProjectionGradientJob& job, int64_t begin, int64_t end, float* v_viewmat); \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
