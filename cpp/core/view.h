// SPDX-License-Identifier: Apache-2.0
//
// One view of a scene, projected, sorted by depth and distributed into tiles: what every traversal starts from.
#pragma once

#include <cstdint>

#include "core/blend.h"
#include "core/buffer.h"
#include "core/isa.h"

namespace panoptic_gs {

constexpr int kTile = 32;  // pixels a side; no result depends on it
constexpr int kBlock = 8;  // pixels a side of the blocks that a tile is blended in
constexpr int kBlocksPerSide = kTile / kBlock;
constexpr int kBlocks = kBlocksPerSide * kBlocksPerSide;  // block b: column b % kBlocksPerSide, row b / kBlocksPerSide
constexpr int kBlockPixels = kBlock * kBlock;             // pixel k of a block: column k % kBlock, row k / kBlock

struct PinholeCamera {
    float rotation[9];  // world to camera, row major, OpenCV axes
    float translation[3];
    float fx, fy, cx, cy;  // pixels
    int width, height;
};

struct ProjectionOptions {
    float near_plane = 0.01f, far_plane = 1e10f, radius_clip = 0.0f, eps2d = 0.3f;
    bool antialiased = false;
    float alpha_max = kAlphaMax;
};

// Borrowed inputs, row major.
struct Gaussians {
    int64_t count;
    const float* means;      // [N, 3]
    const float* quats;      // [N, 4] wxyz, normalised here
    const float* scales;     // [N, 3]
    const float* opacities;  // [N]
};

// Optional dense results of the projection, for autograd; a null pointer is not written. Culled Gaussians get zeros.
struct ProjectionResults {
    int32_t* radii = nullptr;        // [N, 2]
    float* means2d = nullptr;        // [N, 2]
    float* depths = nullptr;         // [N]
    float* conics = nullptr;         // [N, 3]
    float* compensations = nullptr;  // [N], antialiased only
};

struct View {
    int width = 0, height = 0;
    int tiles_x = 0, tiles_y = 0;
    float alpha_max = kAlphaMax;   // of every traversal, so that votes and colours have the same weights
    int64_t count = 0;             // Gaussians in the scene
    int64_t invalid = 0;           // of them, NaN or infinite; left out
    Buffer<Footprint> footprints;  // [visible], by depth, ties by id; an index into it is a rank

    // Tile t = row * tiles_x + column holds entries [tile_offsets[t], tile_offsets[t + 1]) of tile_ranks, ascending:
    // the Gaussians whose alpha reaches kAlphaMin at a pixel centre of the tile (and a few that miss it by rounding).
    Buffer<uint32_t> tile_offsets;  // [tiles + 1]
    Buffer<uint32_t> tile_ranks;    // [intersections]

    // The same pairs by Gaussian, in order of tiles: entries [rank_offsets[r], rank_offsets[r + 1]) of rank_entries are
    // the positions of rank r in tile_ranks. Sums over a Gaussian's tiles in this order do not depend on threads.
    Buffer<uint32_t> rank_offsets;  // [visible + 1]
    Buffer<uint32_t> rank_entries;  // [intersections]

    Buffer<int32_t> rank_of;  // [N], -1 where culled

    int64_t visible() const { return static_cast<int64_t>(footprints.size()); }
    int64_t intersections() const { return static_cast<int64_t>(tile_ranks.size()); }
    int tiles() const { return tiles_x * tiles_y; }
};

// Throws std::length_error beyond 2^31 intersections.
void make_view(const Gaussians& gaussians, const PinholeCamera& camera, const ProjectionOptions& options, int threads,
               const ProjectionResults& results, View& view);

}  // namespace panoptic_gs
