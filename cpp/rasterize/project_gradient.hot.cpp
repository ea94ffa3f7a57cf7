// SPDX-License-Identifier: Apache-2.0
//
// The projection's gradient. With frame = W R S (camera rotation, Gaussian's rotation, scales) and half = J frame, the
// covariance is half half^T + eps I, so G = dL/dcovariance (symmetric) gives dL/dhalf = 2 G half, and so on back.
#include "core/gaussian_math.h"
#include "rasterize/raster.h"

namespace panoptic_gs::PGS_ISA {

namespace {

PGS_INLINE void store_strided(float* p, int64_t stride, int count, Float x, bool accumulate) {
    for (int lane = 0; lane < count; ++lane) p[lane * stride] = accumulate ? p[lane * stride] + x[lane] : x[lane];
}

}  // namespace

void project_gradient_chunk(const Gaussians& gaussians, const ProjectionConstants& constants,
                            const ProjectionGradientJob& job, int64_t begin, int64_t end, float* v_viewmat) {
    const PinholeCamera& camera = constants.camera;
    const float* W = camera.rotation;
    const Float eps = splat(constants.options.eps2d);
    Float v_pose[3][4] = {};
    for (int64_t first = begin; first < end; first += kLanes) {
        const int count = static_cast<int>(end - first < kLanes ? end - first : kLanes);
        uint32_t visible = 0;
        for (int lane = 0; lane < count; ++lane)
            visible |= static_cast<uint32_t>(job.radii[2 * (first + lane)] > 0 || job.radii[2 * (first + lane) + 1] > 0)
                       << lane;
        if (visible == 0) {
            if (!job.accumulate) {
                const Float zero = splat(0.0f);
                for (int k = 0; k < 3; ++k) store_strided(job.v_means + 3 * first + k, 3, count, zero, false);
                for (int k = 0; k < 4; ++k) store_strided(job.v_quats + 4 * first + k, 4, count, zero, false);
                for (int k = 0; k < 3; ++k) store_strided(job.v_scales + 3 * first + k, 3, count, zero, false);
            }
            continue;
        }
        const Mask seen = mask_from_bits(visible);
        Projected p;
        project_lanes(gaussians, constants, first, count, p);

        // conic = covariance^-1: G = -conic V conic, where V holds half of conic_xy's gradient on each side.
        const Float inverse = splat(1.0f) / p.determinant;
        const Float a = p.yy * inverse, b = -p.xy * inverse, c = p.xx * inverse;
        const float* v_conics = job.v_conics + 3 * first;
        const Float va = load_strided(v_conics, 3, count), vb = 0.5f * load_strided(v_conics + 1, 3, count),
                    vc = load_strided(v_conics + 2, 3, count);
        const Float r00 = a * va + b * vb, r01 = a * vb + b * vc, r10 = b * va + c * vb, r11 = b * vb + c * vc;
        Float g_xx = -(r00 * a + r01 * b), g_xy = -(r00 * b + r01 * c), g_yy = -(r10 * b + r11 * c);
        if (job.v_compensations != nullptr) {
            // compensation^2 = ratio = det(sharp) / det(blurred)
            const Float ratio = p.sharp_determinant * inverse, compensation = sqrt(ratio);
            const Float v_ratio = load_strided(job.v_compensations + first, 1, count) * 0.5f / (compensation + 1e-6f);
            g_xx += v_ratio * ((p.yy - eps) * inverse - ratio * a);
            g_yy += v_ratio * ((p.xx - eps) * inverse - ratio * c);
            g_xy += v_ratio * (1.0f - ratio) * b;
        }

        Float v_half[2][3], v_frame[3][3];
        const Float fx = camera.fx * p.inverse_z, fy = camera.fy * p.inverse_z;
        Float v_j00 = {}, v_j11 = {}, v_j02 = {}, v_j12 = {};  // of the Jacobian's entries
        for (int k = 0; k < 3; ++k) {
            v_half[0][k] = 2.0f * (g_xx * p.half[0][k] + g_xy * p.half[1][k]);
            v_half[1][k] = 2.0f * (g_xy * p.half[0][k] + g_yy * p.half[1][k]);
            v_frame[0][k] = fx * v_half[0][k];
            v_frame[1][k] = fy * v_half[1][k];
            v_frame[2][k] = -(fx * p.tx * v_half[0][k] + fy * p.ty * v_half[1][k]);
            v_j00 += v_half[0][k] * p.frame[0][k];
            v_j11 += v_half[1][k] * p.frame[1][k];
            v_j02 += v_half[0][k] * p.frame[2][k];
            v_j12 += v_half[1][k] * p.frame[2][k];
        }
        const float* v_means2d = job.v_means2d + 2 * first;
        const Float v_x2d = load_strided(v_means2d, 2, count), v_y2d = load_strided(v_means2d + 1, 2, count);
        // J = [fx/z, 0, -fx tx/z; 0, fy/z, -fy ty/z] with tx = clamp(x / z), constant where it is clamped
        const Float x_z = p.x * p.inverse_z, y_z = p.y * p.inverse_z;
        const Mask free_x = less_equal(greater_equal(seen, x_z, splat(constants.x_min)), x_z, splat(constants.x_max));
        const Mask free_y = less_equal(greater_equal(seen, y_z, splat(constants.y_min)), y_z, splat(constants.y_max));
        const Float v_tx = zero_unless(free_x, -fx * v_j02), v_ty = zero_unless(free_y, -fy * v_j12);
        Float v_camera[3];
        v_camera[0] = fx * v_x2d + v_tx * p.inverse_z;
        v_camera[1] = fy * v_y2d + v_ty * p.inverse_z;
        // half = J frame has the factor 1 / z, besides what tx and ty hold of z.
        const Float v_half_half = fx * (v_j00 - p.tx * v_j02) + fy * (v_j11 - p.ty * v_j12);
        v_camera[2] = -(x_z * fx * v_x2d + y_z * fy * v_y2d) - p.inverse_z * (x_z * v_tx + y_z * v_ty + v_half_half);
        if (job.v_depths != nullptr) v_camera[2] += load_strided(job.v_depths + first, 1, count);
        for (int i = 0; i < 3; ++i) v_camera[i] = zero_unless(seen, v_camera[i]);

        for (int i = 0; i < 3; ++i) {
            const Float v =
                W[i] * v_camera[0] + W[3 + i] * v_camera[1] + W[6 + i] * v_camera[2];
            store_strided(job.v_means + 3 * first + i, 3, count, v, job.accumulate);
        }

        Float v_rotation[3][3];
        for (int k = 0; k < 3; ++k) {
            const Float scale = load_strided(gaussians.scales + 3 * first + k, 3, count);
            Float v_scale = {};
            for (int i = 0; i < 3; ++i) {
                const Float v_axis = W[i] * v_frame[0][k] + W[3 + i] * v_frame[1][k] + W[6 + i] * v_frame[2][k];
                v_scale += v_axis * p.rotation[i][k];
                v_rotation[i][k] = v_axis * scale;
            }
            store_strided(job.v_scales + 3 * first + k, 3, count, zero_unless(seen, v_scale), job.accumulate);
            if (v_viewmat != nullptr)
                for (int i = 0; i < 3; ++i)
                    for (int j = 0; j < 3; ++j)
                        v_pose[i][j] += zero_unless(seen, v_frame[i][k] * scale * p.rotation[j][k]);
        }
        if (v_viewmat != nullptr) {
            const float* means = gaussians.means + 3 * first;
            for (int j = 0; j < 3; ++j) {
                const Float mean = load_strided(means + j, 3, count);
                for (int i = 0; i < 3; ++i) v_pose[i][j] += v_camera[i] * mean;
            }
            for (int i = 0; i < 3; ++i) v_pose[i][3] += v_camera[i];
        }

        const auto& v = v_rotation;
        const Float w = p.qw, x = p.qx, y = p.qy, z = p.qz;
        const Float v_w = 2.0f * (x * (v[2][1] - v[1][2]) + y * (v[0][2] - v[2][0]) + z * (v[1][0] - v[0][1]));
        const Float v_x = 2.0f * (w * (v[2][1] - v[1][2]) + y * (v[0][1] + v[1][0]) + z * (v[0][2] + v[2][0]) -
                                  2.0f * x * (v[1][1] + v[2][2]));
        const Float v_y = 2.0f * (w * (v[0][2] - v[2][0]) + x * (v[0][1] + v[1][0]) + z * (v[1][2] + v[2][1]) -
                                  2.0f * y * (v[0][0] + v[2][2]));
        const Float v_z = 2.0f * (w * (v[1][0] - v[0][1]) + x * (v[0][2] + v[2][0]) + y * (v[1][2] + v[2][1]) -
                                  2.0f * z * (v[0][0] + v[1][1]));
        const Float along = v_w * w + v_x * x + v_y * y + v_z * z;
        float* v_quats = job.v_quats + 4 * first;
        store_strided(v_quats, 4, count, zero_unless(seen, (v_w - along * w) * p.inverse_norm), job.accumulate);
        store_strided(v_quats + 1, 4, count, zero_unless(seen, (v_x - along * x) * p.inverse_norm), job.accumulate);
        store_strided(v_quats + 2, 4, count, zero_unless(seen, (v_y - along * y) * p.inverse_norm), job.accumulate);
        store_strided(v_quats + 3, 4, count, zero_unless(seen, (v_z - along * z) * p.inverse_norm), job.accumulate);
    }
    if (v_viewmat != nullptr)
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 4; ++j) v_viewmat[4 * i + j] += sum(v_pose[i][j]);
}

}  // namespace panoptic_gs::PGS_ISA
