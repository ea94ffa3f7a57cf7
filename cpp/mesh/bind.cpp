// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <vector>

#include "binding.h"
#include "core/arrays.h"
#include "mesh/volume.h"

namespace panoptic_gs {

namespace {

using Floats = std::vector<ConstFloatArray>;
using ByteArray = Array<uint8_t>;
using ConstLongArray = Array<const int64_t>;

void add(VoxelVolume& volume, const ConstFloatArray& viewmat, const ConstFloatArray& K, const ConstFloatArray& depth,
         const ConstFloatArray& weight, const ConstIntArray& label, const ConstFloatArray& confidence,
         const ConstFloatArray& color, int threads) {
    const DepthView view{camera_of(viewmat, K, static_cast<int>(depth.shape(1)), static_cast<int>(depth.shape(0))),
                         depth.data(),
                         weight.data(),
                         label.data(),
                         confidence.data(),
                         color.data()};
    const nb::gil_scoped_release unlocked;
    volume.add(view, threads);
}

const Binding binding([](nb::module_& m) {
    nb::class_<VoxelVolume>(m, "VoxelVolume")
        .def(nb::init<double, double, int64_t>(), nb::arg("voxel"), nb::arg("truncation"), nb::arg("most_bytes"))
        .def_prop_ro("num_blocks", &VoxelVolume::num_blocks)
        .def_prop_ro("num_bytes", &VoxelVolume::bytes, nb::call_guard<nb::gil_scoped_release>())
        .def_prop_ro("wanted_bytes", &VoxelVolume::wanted_bytes)
        .def("add", &add, nb::arg("viewmat"), nb::arg("K"), nb::arg("depth"), nb::arg("weight"), nb::arg("label"),
             nb::arg("confidence"), nb::arg("color"), nb::arg("threads"))
        .def("bounds", [](const VoxelVolume& volume, IntArray low, IntArray high) {
            volume.bounds(low.data(), high.data());
        })
        .def("copy", [](const VoxelVolume& volume, const ConstLongArray& low, FloatArray distance, FloatArray weight,
                        int threads) {
            const int64_t size[3] = {static_cast<int64_t>(distance.shape(0)), static_cast<int64_t>(distance.shape(1)),
                                     static_cast<int64_t>(distance.shape(2))};
            const nb::gil_scoped_release unlocked;
            volume.copy(low.data(), size, distance.data(), weight.data(), threads);
        })
        .def("sample", [](const VoxelVolume& volume, const ConstFloatArray& points, FloatArray color, IntArray label,
                          FloatArray share, FloatArray weight, int threads) {
            const nb::gil_scoped_release unlocked;
            volume.sample(points.data(), static_cast<int64_t>(points.shape(0)), color.data(), label.data(),
                          share.data(), weight.data(), threads);
        });
    m.def("count_free", [](const ConstFloatArray& points, const Floats& viewmats, const Floats& Ks,
                           const Floats& depths, float margin, ByteArray free, int threads) {
        std::vector<DepthView> views;
        for (size_t i = 0; i < depths.size(); ++i) {
            const ConstFloatArray& depth = depths[i];
            views.push_back({camera_of(viewmats[i], Ks[i], static_cast<int>(depth.shape(1)),
                                       static_cast<int>(depth.shape(0))),
                             depth.data(), nullptr, nullptr, nullptr, nullptr});
        }
        const nb::gil_scoped_release unlocked;
        count_free(points.data(), static_cast<int64_t>(points.shape(0)), views, margin, free.data(), threads);
    });
});

}  // namespace

}  // namespace panoptic_gs
