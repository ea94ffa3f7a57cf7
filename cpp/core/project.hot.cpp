// SPDX-License-Identifier: Apache-2.0
#include "core/project.h"

#include "core/gaussian_math.h"

namespace panoptic_gs::PGS_ISA {

namespace {

// The squared whitened distance within which alpha reaches kAlphaMin, with a margin for rounding.
PGS_INLINE float reach_of(const Footprint& g) {
    return (g.log2_opacity - kLog2AlphaMin + 1e-3f) * 1.0001f;
}

constexpr float kPixelMargin = 1e-3f;

PGS_INLINE int clamp_pixel(float x, int size) {  // to [-1, size]
    return x < -1.0f ? -1 : x > static_cast<float>(size) ? size : static_cast<int>(x);
}

// First and last pixel of a row or column whose centre lies in [low, high].
PGS_INLINE int first_pixel(float low, int size) {
    const int i = clamp_pixel(__builtin_ceilf(low - kPixelCentre - kPixelMargin), size);
    return i < 0 ? 0 : i;
}
PGS_INLINE int last_pixel(float high, int size) {
    const int i = clamp_pixel(__builtin_floorf(high - kPixelCentre + kPixelMargin), size);
    return i > size - 1 ? size - 1 : i;
}

}  // namespace

ChunkCounts project_chunk(const Gaussians& gaussians, const ProjectionConstants& constants,
                          const ProjectionResults& results, int64_t begin, int64_t end, Footprint* out) {
    const PinholeCamera& camera = constants.camera;
    const ProjectionOptions& options = constants.options;
    int64_t visible = 0, invalid = 0;
    for (int64_t first = begin; first < end; first += kLanes) {
        const int count = static_cast<int>(end - first < kLanes ? end - first : kLanes);
        Projected p;
        project_lanes(gaussians, constants, first, count, p);
        const Float x = fma(camera.fx * p.inverse_z, p.x, splat(camera.cx));
        const Float y = fma(camera.fy * p.inverse_z, p.y, splat(camera.cy));
        const Float compensation = sqrt(p.sharp_determinant / p.determinant);
        Float opacity = load_strided(gaussians.opacities + first, 1, count);
        // Zero times a number is zero, unless it is infinite or not a number.
        const Mask valid = equal(first_lanes(count), (p.inputs + opacity) * 0.0f, splat(0.0f));
        invalid += count - __builtin_popcount(bits(valid));
        if (options.antialiased) opacity = opacity * compensation;

        Mask seen = valid;
        seen = greater_equal(seen, p.z, splat(options.near_plane));
        seen = less_equal(seen, p.z, splat(options.far_plane));
        seen = greater_equal(seen, p.determinant, splat(1e-30f));
        seen = greater_equal(seen, opacity, splat(kAlphaMin));
        const Float log2_opacity = log2(max(opacity, splat(kAlphaMin)));
        const Float deviations =
            min(splat(kExtentMax), sqrt(max((log2_opacity - kLog2AlphaMin) * (1.0f / kHalfLog2e), splat(0.0f))));
        const Float radius_x = ceil(deviations * sqrt(p.xx)), radius_y = ceil(deviations * sqrt(p.yy));
        // A radius beyond int's range (or not a number) is no Gaussian that can be drawn.
        seen = less_equal(seen, max(radius_x, radius_y), splat(1e9f));
        seen = seen & (and_not(first_lanes(kLanes), less_equal(radius_x, splat(options.radius_clip))) |
                       and_not(first_lanes(kLanes), less_equal(radius_y, splat(options.radius_clip))));
        seen = and_not(seen, less_equal(x + radius_x, splat(0.0f)));
        seen = and_not(seen, less_equal(y + radius_y, splat(0.0f)));
        seen = and_not(seen, greater_equal(x - radius_x, splat(static_cast<float>(camera.width))));
        seen = and_not(seen, greater_equal(y - radius_y, splat(static_cast<float>(camera.height))));

        const Float inverse = splat(1.0f) / p.determinant;
        const Float ux = sqrt(splat(kHalfLog2e) * p.yy * inverse);
        const Float uy = -(p.xy / p.yy) * ux;
        const Float vy = sqrt(splat(kHalfLog2e) / p.yy);
        if (results.radii != nullptr) {
            const Int rx = to_int(zero_unless(seen, radius_x)), ry = to_int(zero_unless(seen, radius_y));
            const Float sx = zero_unless(seen, x), sy = zero_unless(seen, y), sz = zero_unless(seen, p.z);
            const Float a = zero_unless(seen, p.yy * inverse), b = zero_unless(seen, -p.xy * inverse),
                        c = zero_unless(seen, p.xx * inverse);
            for (int lane = 0; lane < count; ++lane) {
                const int64_t n = first + lane;
                results.radii[2 * n] = rx[lane];
                results.radii[2 * n + 1] = ry[lane];
                results.means2d[2 * n] = sx[lane];
                results.means2d[2 * n + 1] = sy[lane];
                results.depths[n] = sz[lane];
                results.conics[3 * n] = a[lane];
                results.conics[3 * n + 1] = b[lane];
                results.conics[3 * n + 2] = c[lane];
            }
            if (results.compensations != nullptr) {
                const Float kept = zero_unless(seen, compensation);
                for (int lane = 0; lane < count; ++lane) results.compensations[first + lane] = kept[lane];
            }
        }
        for (uint32_t lanes = bits(seen); lanes != 0; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes);
            out[visible++] = {x[lane],  y[lane],            ux[lane],  uy[lane],
                              vy[lane], log2_opacity[lane], p.z[lane], static_cast<uint32_t>(first + lane)};
        }
    }
    return {visible, invalid};
}

void find_rows(const Footprint* footprints, int64_t count, int width, int height, TileRows* rows) {
    (void)width;
    for (int64_t i = 0; i < count; ++i) {
        const Footprint& g = footprints[i];
        const float reach = __builtin_sqrtf(reach_of(g)) / g.vy;
        const int low = first_pixel(g.y - reach, height), high = last_pixel(g.y + reach, height);
        rows[i] = low > high ? TileRows{0, 0} : TileRows{low / kTile, high / kTile - low / kTile + 1};
    }
}

void find_spans(const Footprint* footprints, const TileRows* rows, const uint32_t* row_offsets, int64_t begin,
                int64_t end, int width, int height, int tiles_x, TileSpan* spans, uint32_t* tiles_of,
                uint32_t* tile_counts) {
    (void)height;
    for (int64_t i = begin; i < end; ++i) {
        const Footprint& g = footprints[i];
        const float reach2 = reach_of(g), reach = __builtin_sqrtf(reach2);
        const float slope = 1.0f / g.ux, limit = reach / g.vy;
        // Where the ellipse is widest to the right; to the left it is the opposite point.
        const float widest = -g.uy * limit / __builtin_sqrtf(g.vy * g.vy + g.uy * g.uy);
        TileSpan* span = spans + row_offsets[i];
        uint32_t tiles = 0;
        for (int r = 0; r < rows[i].count; ++r) {
            const int row = rows[i].first + r;
            float low = static_cast<float>(row * kTile) + kPixelCentre - g.y;
            float high = low + static_cast<float>(kTile - 1);
            low = low < -limit ? -limit : low > limit ? limit : low;
            high = high > limit ? limit : high < -limit ? -limit : high;
            const float right_y = widest < low ? low : widest > high ? high : widest;
            const float left_y = -widest < low ? low : -widest > high ? high : -widest;
            const float right_v = g.vy * right_y, left_v = g.vy * left_y;
            const float right_rest = reach2 - right_v * right_v, left_rest = reach2 - left_v * left_v;
            const float right = g.x + (__builtin_sqrtf(right_rest > 0 ? right_rest : 0.0f) - g.uy * right_y) * slope;
            const float left = g.x - (__builtin_sqrtf(left_rest > 0 ? left_rest : 0.0f) + g.uy * left_y) * slope;
            const int first = first_pixel(left, width), last = last_pixel(right, width);
            if (first > last) {
                span[r] = {0, 0};
                continue;
            }
            span[r] = {static_cast<uint16_t>(first / kTile), static_cast<uint16_t>(last / kTile + 1)};
            tiles += static_cast<uint32_t>(span[r].last - span[r].first);
            uint32_t* counts = tile_counts + static_cast<int64_t>(row) * tiles_x;
            for (int t = span[r].first; t < span[r].last; ++t) ++counts[t];
        }
        tiles_of[i] = tiles;
    }
}

}  // namespace panoptic_gs::PGS_ISA
