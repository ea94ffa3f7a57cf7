// SPDX-License-Identifier: Apache-2.0
// The device kernels: CUDA tensors come as DLPack, the stream as an integer. The caller's module
// (panoptic_gs/kernels/cuda.py) has checked that all tensors are on one device and of sizes that fit each other; types
// and ranks are checked here, and nothing is ever converted, since results are written in place.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "binding.h"

#ifdef PANOPTIC_GS_WITH_CUDA
#include "launch.h"
#endif

namespace panoptic_gs {

namespace {

namespace nb = nanobind;

#ifdef PANOPTIC_GS_WITH_CUDA

template <class T, class... Shape>
using DeviceArray = nb::ndarray<T, nb::c_contig, nb::device::cuda, Shape...>;
template <class T>
using Vector = DeviceArray<T, nb::ndim<1>>;
template <class T>
using Matrix = DeviceArray<T, nb::ndim<2>>;

template <class T, class... Options>
T* data_or_null(const std::optional<nb::ndarray<T, Options...>>& array) {
    return array ? array->data() : nullptr;
}

unsigned long long* units(int64_t* sums) { return reinterpret_cast<unsigned long long*>(sums); }

void check(const char* error) {
    if (error != nullptr) throw std::runtime_error(std::string("CUDA: ") + error);
}

struct Lists {
    int width, height;
    Matrix<const int32_t> offsets;
    Vector<const int32_t> flatten_ids;
    DeviceArray<const float, nb::shape<-1, 2>> means2d;
    DeviceArray<const float, nb::shape<-1, 3>> conics;
    Vector<const float> opacities;
    float alpha_max;

    device::TileLists pointers() const {
        return {width,
                height,
                static_cast<int>(offsets.shape(1)),
                static_cast<int>(offsets.shape(0)),
                static_cast<int>(flatten_ids.shape(0)),
                offsets.data(),
                flatten_ids.data(),
                means2d.data(),
                conics.data(),
                opacities.data(),
                alpha_max};
    }
    device::Queue queue(uintptr_t stream) const {
        return {static_cast<int>(opacities.device_id()), reinterpret_cast<void*>(stream)};
    }
};

void add_label_votes(const Lists& lists, const Matrix<const int32_t>& label_map,
                     const std::optional<Matrix<const float>>& weights, const Matrix<int32_t>& labels,
                     const Matrix<int64_t>& sums, const Vector<int64_t>& overflow_keys,
                     const Vector<int64_t>& overflow_sums, const Vector<int32_t>& overflow_count, bool overflow_only,
                     uintptr_t stream) {
    const device::VoteSlots slots{static_cast<int>(labels.shape(1)),
                                  labels.data(),
                                  units(sums.data()),
                                  overflow_keys.data(),
                                  overflow_sums.data(),
                                  reinterpret_cast<unsigned*>(overflow_count.data()),
                                  static_cast<unsigned>(overflow_keys.shape(0)),
                                  overflow_only};
    check(
        device::add_label_votes(lists.pointers(), label_map.data(), data_or_null(weights), slots, lists.queue(stream)));
}

void add_feature_votes(const Lists& lists, const DeviceArray<const float, nb::ndim<3>>& features,
                       const std::optional<Matrix<const float>>& weights, int first, const Vector<const float>& scale,
                       const Matrix<int64_t>& sums, const std::optional<Vector<int64_t>>& totals, uintptr_t stream) {
    const device::FeatureChannels channels{
        features.data(), data_or_null(weights),           static_cast<int>(features.shape(2)),
        first,           static_cast<int>(sums.shape(1)), scale.data()};
    check(device::add_feature_votes(lists.pointers(), channels, {units(sums.data()), units(data_or_null(totals))},
                                    lists.queue(stream)));
}

void render_panoptic(const Lists& lists, const Vector<const int64_t>& indptr, const Vector<const int32_t>& rank,
                     const Vector<const float>& weight, int num_ranks, const Matrix<int32_t>& winners,
                     const Matrix<float>& confidence, const Matrix<float>& accumulation, uintptr_t stream) {
    check(device::render_panoptic(lists.pointers(), {indptr.data(), rank.data(), weight.data(), num_ranks},
                                  winners.data(), confidence.data(), accumulation.data(), lists.queue(stream)));
}

void atomic_adds(const Vector<int64_t>& counters, int64_t threads, int rounds, uintptr_t stream) {
    check(device::atomic_adds(units(counters.data()), static_cast<unsigned>(counters.shape(0)), threads, rounds,
                              {static_cast<int>(counters.device_id()), reinterpret_cast<void*>(stream)}));
}

void bind(nb::module_& m) {
    m.attr("with_cuda") = true;
    nb::class_<Lists>(m, "CudaTileLists")
        .def(
            nb::init<int, int, Matrix<const int32_t>, Vector<const int32_t>, DeviceArray<const float, nb::shape<-1, 2>>,
                     DeviceArray<const float, nb::shape<-1, 3>>, Vector<const float>, float>(),
            nb::arg("width"), nb::arg("height"), nb::arg("offsets").noconvert(), nb::arg("flatten_ids").noconvert(),
            nb::arg("means2d").noconvert(), nb::arg("conics").noconvert(), nb::arg("opacities").noconvert(),
            nb::arg("alpha_max"));
    m.def("cuda_add_label_votes", &add_label_votes, nb::arg("lists"), nb::arg("label_map").noconvert(),
          nb::arg("weights").noconvert().none(), nb::arg("labels").noconvert(), nb::arg("sums").noconvert(),
          nb::arg("overflow_keys").noconvert(), nb::arg("overflow_sums").noconvert(),
          nb::arg("overflow_count").noconvert(), nb::arg("overflow_only"), nb::arg("stream"));
    m.def("cuda_add_feature_votes", &add_feature_votes, nb::arg("lists"), nb::arg("features").noconvert(),
          nb::arg("weights").noconvert().none(), nb::arg("first"), nb::arg("scale").noconvert(),
          nb::arg("sums").noconvert(), nb::arg("totals").noconvert().none(), nb::arg("stream"));
    m.def("cuda_render_panoptic", &render_panoptic, nb::arg("lists"), nb::arg("indptr").noconvert(),
          nb::arg("rank").noconvert(), nb::arg("weight").noconvert(), nb::arg("num_ranks"),
          nb::arg("winners").noconvert(), nb::arg("confidence").noconvert(), nb::arg("accumulation").noconvert(),
          nb::arg("stream"));
    m.def("cuda_atomic_adds", &atomic_adds, nb::arg("counters").noconvert(), nb::arg("threads"), nb::arg("rounds"),
          nb::arg("stream"));
}

#else

void bind(nb::module_& m) { m.attr("with_cuda") = false; }

#endif

const Binding binding(&bind);

}  // namespace

}  // namespace panoptic_gs
