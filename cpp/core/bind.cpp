// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "binding.h"
#include "core/buffer.h"
#include "core/peak.h"
#include "core/thread_pool.h"

namespace panoptic_gs {

namespace {

const Binding binding([](nanobind::module_& m) {
    m.def(
        "multiply_add",
        [](int64_t rounds, int threads) {
            const nanobind::gil_scoped_release unlocked;
            std::vector<double> operations(static_cast<size_t>(threads));
            parallel_for(threads, threads, [&](int64_t i, int) {
                float sink[16];
                operations[static_cast<size_t>(i)] = PGS_DISPATCH(multiply_add, rounds, sink);
            });
            double total = 0.0;
            for (double count : operations) total += count;
            return total;
        },
        nanobind::arg("rounds"), nanobind::arg("threads"));
    m.def("give_back_memory", &give_back_memory, nanobind::call_guard<nanobind::gil_scoped_release>());
});

}  // namespace

}  // namespace panoptic_gs
