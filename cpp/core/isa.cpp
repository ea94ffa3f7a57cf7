// SPDX-License-Identifier: Apache-2.0
#include "core/isa.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#if defined(PANOPTIC_GS_X86_DISPATCH)
#include <cpuid.h>
#endif

namespace panoptic_gs {

namespace {

#if defined(PANOPTIC_GS_X86_DISPATCH)

// Asked of the processor itself: the compilers' own questions need a run-time library that not every linker brings.
bool has(unsigned word, int bit) { return (word >> bit & 1) != 0; }

// Which registers the operating system keeps for each thread.
unsigned kept_registers() {
    unsigned low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

// All that CMakeLists.txt lets the compiler use.
Isa widest() {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return Isa::baseline;
    const bool fma = has(ecx, 12), xsave = has(ecx, 27), f16c = has(ecx, 29);
    if (!fma || !xsave || !f16c || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return Isa::baseline;
    const unsigned kept = kept_registers(), ymm = 0x6, zmm = 0xe6;
    if ((kept & ymm) != ymm || !has(ebx, 5) || !has(ebx, 8)) return Isa::baseline;  // AVX2, BMI2
    const bool wide = has(ebx, 16) && has(ebx, 17) && has(ebx, 30) && has(ebx, 31);  // AVX-512 F, DQ, BW, VL
    return wide && (kept & zmm) == zmm ? Isa::avx512 : Isa::avx2;
}

#else

Isa widest() { return Isa::baseline; }

#endif

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
