// SPDX-License-Identifier: Apache-2.0
//
// Each part of the module registers its own bindings:
//
//     static const Binding binding([](nanobind::module_& m) { m.def("name", ...); });
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

namespace panoptic_gs {

struct Binding {
    using Function = void (*)(nanobind::module_&);
    explicit Binding(Function function) { all().push_back(function); }
    static std::vector<Function>& all() {
        static std::vector<Function> functions;
        return functions;
    }
};

}  // namespace panoptic_gs
