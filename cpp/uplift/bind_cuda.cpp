// SPDX-License-Identifier: Apache-2.0
// The device kernels: CUDA tensors come as DLPack, the stream as an integer.
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

template <class T>
using DeviceArray = nb::ndarray<T, nb::c_contig, nb::device::cuda>;

void check(const char* error) {
    if (error != nullptr) throw std::runtime_error(std::string("CUDA: ") + error);
}

device::TileLists lists_of(int width, int height, const DeviceArray<const int32_t>& offsets,
                           const DeviceArray<const int32_t>& flatten_ids, const DeviceArray<const float>& means2d,
                           const DeviceArray<const float>& conics, const DeviceArray<const float>& opacities) {
    return {width,
            height,
            static_cast<int>(offsets.shape(1)),
            static_cast<int>(offsets.shape(0)),
            static_cast<int>(flatten_ids.shape(0)),
            offsets.data(),
            flatten_ids.data(),
            means2d.data(),
            conics.data(),
            opacities.data()};
}

void bind(nb::module_& m) {
    m.attr("with_cuda") = true;
    m.def("cuda_add_label_votes",
          [](int width, int height, DeviceArray<const int32_t> offsets, DeviceArray<const int32_t> flatten_ids,
             DeviceArray<const float> means2d, DeviceArray<const float> conics, DeviceArray<const float> opacities,
             DeviceArray<const int32_t> label_map, std::optional<DeviceArray<const float>> weights,
             DeviceArray<int32_t> labels, DeviceArray<int64_t> sums, DeviceArray<int64_t> overflow_keys,
             DeviceArray<int64_t> overflow_sums, DeviceArray<int32_t> overflow_count, bool overflow_only,
             uintptr_t stream) {
              const device::VoteSlots slots{static_cast<int>(labels.shape(1)),
                                            labels.data(),
                                            reinterpret_cast<unsigned long long*>(sums.data()),
                                            overflow_keys.data(),
                                            overflow_sums.data(),
                                            reinterpret_cast<unsigned*>(overflow_count.data()),
                                            static_cast<unsigned>(overflow_keys.shape(0)),
                                            overflow_only};
              check(device::add_label_votes(
                  lists_of(width, height, offsets, flatten_ids, means2d, conics, opacities), label_map.data(),
                  weights ? weights->data() : nullptr, slots, reinterpret_cast<void*>(stream)));
          },
          nb::arg("width"), nb::arg("height"), nb::arg("offsets"), nb::arg("flatten_ids"), nb::arg("means2d"),
          nb::arg("conics"), nb::arg("opacities"), nb::arg("label_map"), nb::arg("weights").none(), nb::arg("labels"),
          nb::arg("sums"), nb::arg("overflow_keys"), nb::arg("overflow_sums"), nb::arg("overflow_count"),
          nb::arg("overflow_only"), nb::arg("stream"));
    m.def("cuda_render_panoptic",
          [](int width, int height, DeviceArray<const int32_t> offsets, DeviceArray<const int32_t> flatten_ids,
             DeviceArray<const float> means2d, DeviceArray<const float> conics, DeviceArray<const float> opacities,
             DeviceArray<const int64_t> indptr, DeviceArray<const int32_t> rank, DeviceArray<const float> weight,
             int num_ranks, DeviceArray<int32_t> winners, DeviceArray<float> confidence,
             DeviceArray<float> accumulation, uintptr_t stream) {
              check(device::render_panoptic(
                  lists_of(width, height, offsets, flatten_ids, means2d, conics, opacities),
                  {indptr.data(), rank.data(), weight.data(), num_ranks}, winners.data(), confidence.data(),
                  accumulation.data(), reinterpret_cast<void*>(stream)));
          });
}

#else

void bind(nb::module_& m) { m.attr("with_cuda") = false; }

#endif

const Binding binding(&bind);

}  // namespace

}  // namespace panoptic_gs
