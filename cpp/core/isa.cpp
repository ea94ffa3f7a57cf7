// SPDX-License-Identifier: Apache-2.0
#include "core/isa.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace panoptic_gs {

namespace {

Isa widest() {
#if defined(PANOPTIC_GS_X86_DISPATCH)
    __builtin_cpu_init();
    // All that CMakeLists.txt lets the compiler use, as far as it can be asked for.
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2"))
        return Isa::baseline;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return Isa::avx512;
    return Isa::avx2;
#endif
    return Isa::baseline;
}

}  // namespace

const char* isa_name(Isa isa) { return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "baseline"; }

Isa active_isa() {
    static const Isa best = widest();
    const char* name = std::getenv("PANOPTIC_GS_ISA");
    if (name == nullptr || *name == '\0') return best;
    for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
        if (std::strcmp(name, isa_name(isa)) == 0) {
            if (isa > best)
                throw std::runtime_error(std::string("PANOPTIC_GS_ISA=") + name + ": this processor has " +
                                         isa_name(best) + " at most");
            return isa;
        }
    throw std::runtime_error(std::string("PANOPTIC_GS_ISA=") + name + ": expected baseline, avx2 or avx512");
}

}  // namespace panoptic_gs
