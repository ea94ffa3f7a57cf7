// SPDX-License-Identifier: Apache-2.0
#include "optimize/adam.h"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>

#include "binding.h"
#include "core/arrays.h"
#include "core/thread_pool.h"

namespace panoptic_gs {

namespace {

constexpr int64_t kRange = 1 << 15;  // numbers that a thread takes at a time: half a megabyte of memory

}  // namespace

void adam_step(const std::vector<AdamTensor>& tensors, int threads) {
    std::vector<int64_t> firsts{0};  // ranges before each tensor's
    for (const AdamTensor& tensor : tensors) firsts.push_back(firsts.back() + (tensor.size + kRange - 1) / kRange);
    parallel_for(firsts.back(), threads, [&](int64_t range, int) {
        const auto owner = std::upper_bound(firsts.begin(), firsts.end(), range) - firsts.begin() - 1;
        const AdamTensor& tensor = tensors[static_cast<size_t>(owner)];
        const int64_t begin = (range - firsts[static_cast<size_t>(owner)]) * kRange;
        PGS_DISPATCH(adam_range, tensor, begin, std::min(begin + kRange, tensor.size));
    });
}

namespace {

using Floats = std::vector<FloatArray>;

const Binding binding([](nb::module_& m) {
    m.def(
        "adam_step",
        [](const Floats& values, const std::vector<ConstFloatArray>& gradients, const Floats& means,
           const Floats& squares, const std::vector<double>& steps, const std::vector<double>& rates, double beta1,
           double beta2, double epsilon, int threads) {
            std::vector<AdamTensor> tensors;
            for (size_t i = 0; i < values.size(); ++i)
                tensors.push_back({values[i].data(), gradients[i].data(), means[i].data(), squares[i].data(),
                                   static_cast<int64_t>(values[i].size()),
                                   static_cast<float>(rates[i] / (1.0 - std::pow(beta1, steps[i]))),
                                   static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, steps[i]))),
                                   static_cast<float>(beta1), static_cast<float>(beta2), static_cast<float>(epsilon)});
            const nb::gil_scoped_release unlocked;
            adam_step(tensors, threads);
        },
        nb::arg("values"), nb::arg("gradients"), nb::arg("means"), nb::arg("squares"), nb::arg("steps"),
        nb::arg("rates"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("epsilon"), nb::arg("threads"));
});

}  // namespace

}  // namespace panoptic_gs
