// SPDX-License-Identifier: Apache-2.0
#include "core/project.h"

#include "core/gaussian_math.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr float kPixelMargin = 1e-3f;

// Several footprints, one a lane; lanes from `count` on repeat the last one.
struct Ellipses {
    Float x, y, ux, uy, vy;
    Float reach2, reach;  // whitened distance within which alpha reaches kAlphaMin, with a margin for rounding
};

PGS_INLINE Ellipses load_ellipses(const Footprint* footprints, int count) {
    constexpr int64_t kStride = sizeof(Footprint) / sizeof(float);
    const float* p = &footprints->x;
    Ellipses e;
    e.x = load_strided(p, kStride, count);
    e.y = load_strided(p + 1, kStride, count);
    e.ux = load_strided(p + 2, kStride, count);
    e.uy = load_strided(p + 3, kStride, count);
    e.vy = load_strided(p + 4, kStride, count);
    e.reach2 = (load_strided(p + 5, kStride, count) - (kLog2AlphaMin - 1e-3f)) * 1.0001f;
    e.reach = sqrt(e.reach2);
    return e;
}

PGS_INLINE Float floor(Float x) { return -ceil(-x); }

// First and last pixel of a row or column whose centre lies in [low, high], within the image; first > last for none.
PGS_INLINE Int first_pixel(Float low, int size) {
    return to_int(min(max(ceil(low - (kPixelCentre + kPixelMargin)), splat(0.0f)), splat(static_cast<float>(size))));
}
PGS_INLINE Int last_pixel(Float high, int size) {
    return to_int(
        max(min(floor(high - (kPixelCentre - kPixelMargin)), splat(static_cast<float>(size - 1))), splat(-1.0f)));
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
            out[visible++] = {x[lane],   y[lane],
                              ux[lane],  uy[lane],
                              vy[lane],  log2_opacity[lane],
                              p.z[lane], static_cast<uint32_t>(first + lane)};
        }
    }
    return {visible, invalid};
}

void find_rows(const Footprint* footprints, int64_t count, int height, TileRows* rows) {
    for (int64_t i = 0; i < count; i += kLanes) {
        const int lanes = static_cast<int>(count - i < kLanes ? count - i : kLanes);
        const Ellipses e = load_ellipses(footprints + i, lanes);
        const Float limit = e.reach / e.vy;
        const Int low = first_pixel(e.y - limit, height), high = last_pixel(e.y + limit, height);
        for (int lane = 0; lane < lanes; ++lane)
            rows[i + lane] = low[lane] > high[lane]
                                 ? TileRows{0, 0}
                                 : TileRows{low[lane] / kTile, high[lane] / kTile - low[lane] / kTile + 1};
    }
}

void find_spans(const Footprint* footprints, const TileRows* rows, const uint32_t* row_offsets, int64_t begin,
                int64_t end, int width, int tiles_x, TileSpan* spans, uint32_t* tiles_of, uint32_t* tile_counts) {
    for (int64_t i = begin; i < end; i += kLanes) {
        const int lanes = static_cast<int>(end - i < kLanes ? end - i : kLanes);
        const Ellipses e = load_ellipses(footprints + i, lanes);
        const Float slope = 1.0f / e.ux, limit = e.reach / e.vy;
        // Where the ellipse is widest to the right; to the left it is the opposite point.
        const Float widest = -e.uy * limit / sqrt(e.vy * e.vy + e.uy * e.uy);
        Float top;  // of the first row of tiles, at pixel centres, from the mean
        int most_rows = 0;
        for (int lane = 0; lane < kLanes; ++lane) {
            const TileRows& r = rows[i + (lane < lanes ? lane : lanes - 1)];
            top[lane] = static_cast<float>(r.first * kTile) + kPixelCentre;
            most_rows = r.count > most_rows ? r.count : most_rows;
        }
        top -= e.y;
        for (int lane = 0; lane < lanes; ++lane) tiles_of[i + lane] = 0;
        for (int r = 0; r < most_rows; ++r) {
            const Float row_low = top + static_cast<float>(r * kTile);
            const Float low = min(max(row_low, -limit), limit);
            const Float high = max(min(row_low + static_cast<float>(kTile - 1), limit), -limit);
            const Float right_y = min(max(widest, low), high), left_y = min(max(-widest, low), high);
            const Float right_v = e.vy * right_y, left_v = e.vy * left_y;
            const Float right_u = sqrt(max(fnma(right_v, right_v, e.reach2), splat(0.0f)));
            const Float left_u = sqrt(max(fnma(left_v, left_v, e.reach2), splat(0.0f)));
            const Int first = first_pixel(e.x - fma(e.uy, left_y, left_u) * slope, width);
            const Int last = last_pixel(e.x + fnma(e.uy, right_y, right_u) * slope, width);
            for (int lane = 0; lane < lanes; ++lane) {
                const TileRows& own = rows[i + lane];
                if (r >= own.count) continue;
                TileSpan span{0, 0};
                if (first[lane] <= last[lane])
                    span = {static_cast<uint16_t>(first[lane] / kTile), static_cast<uint16_t>(last[lane] / kTile + 1)};
                spans[row_offsets[i + lane] + static_cast<uint32_t>(r)] = span;
                tiles_of[i + lane] += static_cast<uint32_t>(span.last - span.first);
                uint32_t* counts = tile_counts + static_cast<int64_t>(own.first + r) * tiles_x;
                for (int t = span.first; t < span.last; ++t) ++counts[t];
            }
        }
    }
}

}  // namespace panoptic_gs::PGS_ISA
