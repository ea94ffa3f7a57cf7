// SPDX-License-Identifier: Apache-2.0
#include "binding.h"
#include "core/isa.h"

namespace nb = nanobind;

NB_MODULE(_kernels, m) {
    nb::set_leak_warnings(false);  // views held by an interpreter that exits are no fault
    m.doc() = "Compiled kernels; panoptic_gs.kernels is the door to them.";
    m.def("active_isa", [] { return panoptic_gs::isa_name(panoptic_gs::active_isa()); });
    for (auto bind : panoptic_gs::Binding::all()) bind(m);
}
