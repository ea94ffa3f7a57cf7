// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/view.h"

namespace panoptic_gs {

constexpr int64_t kProjectionChunk = 2048;  // Gaussians; sums over Gaussians are sums over chunks, in order

// A Gaussian's tiles, row by row: the row's tiles [first, last).
struct TileSpan {
    uint16_t first, last;
};

struct TileRows {
    int first, count;
};

struct ChunkCounts {
    int64_t visible, invalid;
};

// What a camera and the options come to, worked out once.
struct ProjectionConstants {
    PinholeCamera camera;
    ProjectionOptions options;
    float x_min, x_max, y_min, y_max;  // of x / z and y / z in the Jacobian: 15 % beyond the image on each side
};
ProjectionConstants projection_constants(const PinholeCamera& camera, const ProjectionOptions& options);

#define PGS_DECLARE(isa)                                                                                              \
    namespace isa {                                                                                                   \
    /* Projects Gaussians [begin, end); writes the visible ones' footprints from `out` on. */                         \
    ChunkCounts project_chunk(const Gaussians& gaussians, const ProjectionConstants& constants,                       \
                              const ProjectionResults& results, int64_t begin, int64_t end, Footprint* out);          \
    /* The rows of tiles that hold a pixel centre within reach of each footprint. */                                  \
    void find_rows(const Footprint* footprints, int64_t count, int height, TileRows* rows);                           \
    /* The spans of those rows, and the number of tiles of each footprint. `tile_counts` is incremented. */           \
    void find_spans(const Footprint* footprints, const TileRows* rows, const uint32_t* row_offsets, int64_t begin,    \
                    int64_t end, int width, int tiles_x, TileSpan* spans, uint32_t* tiles_of, uint32_t* tile_counts); \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
