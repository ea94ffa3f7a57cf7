// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace panoptic_gs {

#define PGS_DECLARE(isa)                                                                                     \
    namespace isa {                                                                                          \
    /* Does nothing but multiply and add in registers: what the machine can do at most. Returns the number \
       of floating-point operations; `sink` has room for 16 numbers. */ \
    double multiply_add(int64_t rounds, float* sink);                                                        \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
