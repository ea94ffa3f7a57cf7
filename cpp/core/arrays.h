// SPDX-License-Identifier: Apache-2.0
//
// What crosses the border from Python: contiguous CPU arrays, checked by panoptic_gs/kernels/.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>

#include "core/view.h"

namespace panoptic_gs {

namespace nb = nanobind;

template <class T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using FloatArray = Array<float>;
using ConstFloatArray = Array<const float>;
using IntArray = Array<int32_t>;
using ConstIntArray = Array<const int32_t>;

template <class T>
T* data_or_null(const std::optional<Array<T>>& array) {
    return array ? array->data() : nullptr;
}

inline Gaussians gaussians_of(const ConstFloatArray& means, const ConstFloatArray& quats, const ConstFloatArray& scales,
                              const ConstFloatArray& opacities) {
    return {static_cast<int64_t>(means.shape(0)), means.data(), quats.data(), scales.data(), opacities.data()};
}

// viewmat [4, 4] and K [3, 3] as gsplat takes them: no skew.
inline PinholeCamera camera_of(const ConstFloatArray& viewmat, const ConstFloatArray& K, int width, int height) {
    PinholeCamera camera{};
    const float* m = viewmat.data();
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) camera.rotation[3 * i + j] = m[4 * i + j];
        camera.translation[i] = m[4 * i + 3];
    }
    const float* k = K.data();
    camera.fx = k[0], camera.fy = k[4], camera.cx = k[2], camera.cy = k[5];
    camera.width = width, camera.height = height;
    return camera;
}

}  // namespace panoptic_gs
