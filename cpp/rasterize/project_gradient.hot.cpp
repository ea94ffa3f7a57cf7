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

// kLanes Gaussians from `first` on, of which `count` are there.
struct Lanes {
    int64_t first;
    int count;
};

PGS_INLINE uint32_t visible_lanes(const int32_t* radii, Lanes lanes) {
    uint32_t visible = 0;
    for (int lane = 0; lane < lanes.count; ++lane) {
        const int32_t* radius = radii + 2 * (lanes.first + lane);
        visible |= static_cast<uint32_t>(radius[0] > 0 || radius[1] > 0) << lane;
    }
    return visible;
}

PGS_INLINE void clear_gradients(const ProjectionGradientJob& job, Lanes lanes) {
    const Float zero = splat(0.0f);
    for (int k = 0; k < 3; ++k) store_strided(job.v_means + 3 * lanes.first + k, 3, lanes.count, zero, false);
    for (int k = 0; k < 4; ++k) store_strided(job.v_quats + 4 * lanes.first + k, 4, lanes.count, zero, false);
    for (int k = 0; k < 3; ++k) store_strided(job.v_scales + 3 * lanes.first + k, 3, lanes.count, zero, false);
}

// dL/d(2D covariance), of which xy stands on both sides of the diagonal.
struct CovarianceGradient {
    Float xx, xy, yy;
};

// conic = covariance^-1: G = -conic V conic, where V holds half of conic_xy's gradient on each side.
PGS_INLINE CovarianceGradient covariance_gradient(const Projected& p, const ProjectionGradientJob& job, float eps2d,
                                                  Lanes lanes) {
    const Float inverse = splat(1.0f) / p.determinant;
    const Float a = p.yy * inverse, b = -p.xy * inverse, c = p.xx * inverse;
    const float* v_conics = job.v_conics + 3 * lanes.first;
    const Float va = load_strided(v_conics, 3, lanes.count), vb = 0.5f * load_strided(v_conics + 1, 3, lanes.count),
                vc = load_strided(v_conics + 2, 3, lanes.count);
    const Float r00 = a * va + b * vb, r01 = a * vb + b * vc, r10 = b * va + c * vb, r11 = b * vb + c * vc;
    CovarianceGradient g{-(r00 * a + r01 * b), -(r00 * b + r01 * c), -(r10 * b + r11 * c)};
    if (job.v_compensations != nullptr) {
        // compensation^2 = ratio = det(sharp) / det(blurred)
        const Float eps = splat(eps2d), ratio = p.sharp_determinant * inverse, compensation = sqrt(ratio);
        const Float v_compensation = load_strided(job.v_compensations + lanes.first, 1, lanes.count);
        const Float v_ratio = v_compensation * 0.5f / (compensation + 1e-6f);
        g.xx += v_ratio * ((p.yy - eps) * inverse - ratio * a);
        g.yy += v_ratio * ((p.xx - eps) * inverse - ratio * c);
        g.xy += v_ratio * (1.0f - ratio) * b;
    }
    return g;
}

// Through covariance = half half^T, half = J frame.
struct FrameGradient {
    Float frame[3][3];         // dL/dframe
    Float j00, j11, j02, j12;  // dL/dJ, its entries that are not zero
};

PGS_INLINE FrameGradient frame_gradient(const PinholeCamera& camera, const Projected& p, CovarianceGradient g) {
    FrameGradient v = {};
    const Float fx = camera.fx * p.inverse_z, fy = camera.fy * p.inverse_z;
    for (int k = 0; k < 3; ++k) {
        const Float v_half_x = 2.0f * (g.xx * p.half[0][k] + g.xy * p.half[1][k]);
        const Float v_half_y = 2.0f * (g.xy * p.half[0][k] + g.yy * p.half[1][k]);
        v.frame[0][k] = fx * v_half_x;
        v.frame[1][k] = fy * v_half_y;
        v.frame[2][k] = -(fx * p.tx * v_half_x + fy * p.ty * v_half_y);
        v.j00 += v_half_x * p.frame[0][k];
        v.j11 += v_half_y * p.frame[1][k];
        v.j02 += v_half_x * p.frame[2][k];
        v.j12 += v_half_y * p.frame[2][k];
    }
    return v;
}

// dL/d(mean in camera space), through the 2D mean, the depth and the Jacobian
// J = [fx/z, 0, -fx tx/z; 0, fy/z, -fy ty/z] with tx = clamp(x / z), constant where it is clamped.
PGS_INLINE void camera_mean_gradient(const ProjectionConstants& constants, const Projected& p, const FrameGradient& v,
                                     const ProjectionGradientJob& job, Lanes lanes, Mask seen, Float (&v_camera)[3]) {
    const Float fx = constants.camera.fx * p.inverse_z, fy = constants.camera.fy * p.inverse_z;
    const float* v_means2d = job.v_means2d + 2 * lanes.first;
    const Float v_x2d = load_strided(v_means2d, 2, lanes.count), v_y2d = load_strided(v_means2d + 1, 2, lanes.count);
    const Float x_z = p.x * p.inverse_z, y_z = p.y * p.inverse_z;
    const Mask free_x = less_equal(greater_equal(seen, x_z, splat(constants.x_min)), x_z, splat(constants.x_max));
    const Mask free_y = less_equal(greater_equal(seen, y_z, splat(constants.y_min)), y_z, splat(constants.y_max));
    const Float v_tx = zero_unless(free_x, -fx * v.j02), v_ty = zero_unless(free_y, -fy * v.j12);
    v_camera[0] = fx * v_x2d + v_tx * p.inverse_z;
    v_camera[1] = fy * v_y2d + v_ty * p.inverse_z;
    // half = J frame has the factor 1 / z, besides what tx and ty hold of z.
    const Float v_half_half = fx * (v.j00 - p.tx * v.j02) + fy * (v.j11 - p.ty * v.j12);
    v_camera[2] = -(x_z * fx * v_x2d + y_z * fy * v_y2d) - p.inverse_z * (x_z * v_tx + y_z * v_ty + v_half_half);
    if (job.v_depths != nullptr) v_camera[2] += load_strided(job.v_depths + lanes.first, 1, lanes.count);
    for (int i = 0; i < 3; ++i) v_camera[i] = zero_unless(seen, v_camera[i]);
}

// frame = W rotation diag(scales): writes the scales' gradients and gives the rotation matrix's. Adds to the pose's, a
// 3 x 4 matrix, unless null.
PGS_INLINE void axes_gradient(const Gaussians& gaussians, const float* W, const Projected& p, const FrameGradient& v,
                              const ProjectionGradientJob& job, Lanes lanes, Mask seen, Float (&v_rotation)[3][3],
                              Float (*v_pose)[4]) {
    for (int k = 0; k < 3; ++k) {
        const Float scale = load_strided(gaussians.scales + 3 * lanes.first + k, 3, lanes.count);
        Float v_scale = {};
        for (int i = 0; i < 3; ++i) {
            const Float v_axis = W[i] * v.frame[0][k] + W[3 + i] * v.frame[1][k] + W[6 + i] * v.frame[2][k];
            v_scale += v_axis * p.rotation[i][k];
            v_rotation[i][k] = v_axis * scale;
        }
        store_strided(job.v_scales + 3 * lanes.first + k, 3, lanes.count, zero_unless(seen, v_scale), job.accumulate);
        if (v_pose == nullptr) continue;
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) v_pose[i][j] += zero_unless(seen, v.frame[i][k] * scale * p.rotation[j][k]);
    }
}

// camera mean = W mean + t.
PGS_INLINE void add_pose_of_means(const Gaussians& gaussians, const Float (&v_camera)[3], Lanes lanes,
                                  Float (*v_pose)[4]) {
    const float* means = gaussians.means + 3 * lanes.first;
    for (int j = 0; j < 3; ++j) {
        const Float mean = load_strided(means + j, 3, lanes.count);
        for (int i = 0; i < 3; ++i) v_pose[i][j] += v_camera[i] * mean;
    }
    for (int i = 0; i < 3; ++i) v_pose[i][3] += v_camera[i];
}

// Through the rotation matrix and the normalisation of the quaternion.
PGS_INLINE void store_quaternion_gradient(const Projected& p, const Float (&v)[3][3], const ProjectionGradientJob& job,
                                          Lanes lanes, Mask seen) {
    const Float w = p.qw, x = p.qx, y = p.qy, z = p.qz;
    const Float v_w = 2.0f * (x * (v[2][1] - v[1][2]) + y * (v[0][2] - v[2][0]) + z * (v[1][0] - v[0][1]));
    const Float v_x = 2.0f * (w * (v[2][1] - v[1][2]) + y * (v[0][1] + v[1][0]) + z * (v[0][2] + v[2][0]) -
                              2.0f * x * (v[1][1] + v[2][2]));
    const Float v_y = 2.0f * (w * (v[0][2] - v[2][0]) + x * (v[0][1] + v[1][0]) + z * (v[1][2] + v[2][1]) -
                              2.0f * y * (v[0][0] + v[2][2]));
    const Float v_z = 2.0f * (w * (v[1][0] - v[0][1]) + x * (v[0][2] + v[2][0]) + y * (v[1][2] + v[2][1]) -
                              2.0f * z * (v[0][0] + v[1][1]));
    const Float along = v_w * w + v_x * x + v_y * y + v_z * z;
    const Float tangent[4] = {v_w - along * w, v_x - along * x, v_y - along * y, v_z - along * z};
    for (int k = 0; k < 4; ++k)
        store_strided(job.v_quats + 4 * lanes.first + k, 4, lanes.count, zero_unless(seen, tangent[k] * p.inverse_norm),
                      job.accumulate);
}

}  // namespace

void project_gradient_chunk(const Gaussians& gaussians, const ProjectionConstants& constants,
                            const ProjectionGradientJob& job, int64_t begin, int64_t end, float* v_viewmat) {
    const float* W = constants.camera.rotation;
    Float v_pose[3][4] = {};
    Float(*pose)[4] = v_viewmat != nullptr ? v_pose : nullptr;
    for (int64_t first = begin; first < end; first += kLanes) {
        const Lanes lanes{first, static_cast<int>(end - first < kLanes ? end - first : kLanes)};
        const uint32_t visible = visible_lanes(job.radii, lanes);
        if (visible == 0) {
            if (!job.accumulate) clear_gradients(job, lanes);
            continue;
        }
        const Mask seen = mask_from_bits(visible);
        Projected p;
        project_lanes(gaussians, constants, first, lanes.count, p);
        const CovarianceGradient v_covariance = covariance_gradient(p, job, constants.options.eps2d, lanes);
        const FrameGradient v_frame = frame_gradient(constants.camera, p, v_covariance);
        Float v_camera[3], v_rotation[3][3];
        camera_mean_gradient(constants, p, v_frame, job, lanes, seen, v_camera);
        for (int i = 0; i < 3; ++i) {
            const Float v = W[i] * v_camera[0] + W[3 + i] * v_camera[1] + W[6 + i] * v_camera[2];
            store_strided(job.v_means + 3 * first + i, 3, lanes.count, v, job.accumulate);
        }
        axes_gradient(gaussians, W, p, v_frame, job, lanes, seen, v_rotation, pose);
        if (pose != nullptr) add_pose_of_means(gaussians, v_camera, lanes, pose);
        store_quaternion_gradient(p, v_rotation, job, lanes, seen);
    }
    if (v_viewmat == nullptr) return;
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 4; ++j) v_viewmat[4 * i + j] += sum(v_pose[i][j]);
}

}  // namespace panoptic_gs::PGS_ISA
