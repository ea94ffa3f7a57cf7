// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "binding.h"
#include "core/arrays.h"
#include "core/buffer.h"
#include "core/thread_pool.h"
#include "merge/overlap.h"

namespace panoptic_gs {

namespace {

double value_of_half(uint32_t bits) {
    const int exponent = static_cast<int>(bits >> 10) & 31;
    const double mantissa = static_cast<double>(bits & 1023);
    const double size = exponent == 0    ? std::ldexp(mantissa, -24)
                        : exponent == 31 ? HUGE_VAL  // NaN never comes here
                                         : std::ldexp(1024.0 + mantissa, exponent - 25);
    return (bits & 0x8000) != 0 ? -size : size;
}

const float* sigmoid_of_half() {
    static const std::vector<float> table = [] {
        std::vector<float> values(65536);
        for (uint32_t bits = 0; bits < 65536; ++bits)
            values[bits] = static_cast<float>(1.0 / (1.0 + std::exp(-value_of_half(bits))));
        return values;
    }();
    return table.data();
}

void add_overlaps(OverlapJob job, int threads, Array<int64_t> sums) {
    const nb::gil_scoped_release unlocked;
    job.sigmoid = sigmoid_of_half();
    const int64_t tasks = (job.pixels + kOverlapStretch - 1) / kOverlapStretch;
    const int workers = static_cast<int>(std::min<int64_t>(std::max(threads, 1), std::max<int64_t>(tasks, 1)));
    const size_t size = static_cast<size_t>(job.queries * job.queries);
    struct Worker {
        Buffer<float> scratch;
        Buffer<double> sums;
        std::vector<int64_t> totals;
    };
    std::vector<Worker> all(static_cast<size_t>(workers));
    parallel_for(tasks, workers, [&](int64_t task, int index) {
        Worker& worker = all[static_cast<size_t>(index)];
        if (worker.totals.empty()) {
            worker.scratch.allocate(static_cast<size_t>(job.scratch_size()));
            worker.sums.allocate(static_cast<size_t>(job.sums_size()));
            worker.totals.assign(size, 0);
        }
        PGS_DISPATCH(add_overlaps, job, task * kOverlapStretch, std::min((task + 1) * kOverlapStretch, job.pixels),
                     worker.scratch.data(), worker.sums.data(), worker.totals.data());
    });
    int64_t* out = sums.data();
    for (const Worker& worker : all) {
        if (worker.totals.empty()) continue;
        for (int64_t i = 0; i < job.queries; ++i)
            for (int64_t j = i; j < job.queries; ++j) {
                const int64_t total = worker.totals[static_cast<size_t>(i * job.queries + j)];
                out[i * job.queries + j] += total;
                if (i != j) out[j * job.queries + i] += total;
            }
    }
}

const Binding binding([](nb::module_& m) {
    m.def(
        "add_overlaps_of_logits",
        [](const Array<const int16_t>& logits, int threads, Array<int64_t> sums) {
            add_overlaps({static_cast<int64_t>(logits.shape(0)), static_cast<int64_t>(logits.shape(1)),
                          reinterpret_cast<const uint16_t*>(logits.data()), nullptr, nullptr},
                         threads, std::move(sums));
        },
        nb::arg("logits"), nb::arg("threads"), nb::arg("sums"));
    m.def(
        "add_overlaps_of_masks",
        [](const ConstFloatArray& masks, int threads, Array<int64_t> sums) {
            add_overlaps({static_cast<int64_t>(masks.shape(0)), static_cast<int64_t>(masks.shape(1)), nullptr,
                          masks.data(), nullptr},
                         threads, std::move(sums));
        },
        nb::arg("masks"), nb::arg("threads"), nb::arg("sums"));
});

}  // namespace

}  // namespace panoptic_gs
