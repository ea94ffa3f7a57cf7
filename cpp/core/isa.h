// SPDX-License-Identifier: Apache-2.0
//
// One binary for several instruction sets.
//
// A source whose name ends in `.hot.cpp` is compiled once for each instruction set, with PGS_ISA set to the namespace
// (`baseline`, `avx2`, `avx512`) that its functions live in; the other sources are compiled once, for the baseline.
//
//     // thing.h                                      // thing.hot.cpp
//     #define PGS_DECLARE(isa) \                      #include "thing.h"
//         namespace isa { void thing(const Args&); }  #include "core/traverse.h"
//     namespace panoptic_gs {                         namespace panoptic_gs::PGS_ISA {
//     PGS_FOR_EACH_ISA(PGS_DECLARE)                   void thing(const Args& args) { ... }
//     }                                               }
//     #undef PGS_DECLARE
//                                                     // caller (a plain .cpp):
//                                                     PGS_DISPATCH(thing, args);
//
// Code in a hot source must live inside PGS_ISA or be PGS_HD / always inlined: an ordinary inline function or template
// of a shared header would be merged by the linker across instruction sets, and a wide copy might win. For the same
// reason hot sources use no std containers, std::function or std::sort.
#pragma once

#if !defined(PGS_ISA)
#define PGS_ISA baseline
#endif

#if defined(PANOPTIC_GS_X86_DISPATCH)
#define PGS_FOR_EACH_ISA(X) X(baseline) X(avx2) X(avx512)
#define PGS_DISPATCH(function, ...)                                                                              \
    (::panoptic_gs::active_isa() == ::panoptic_gs::Isa::avx512                                                   \
         ? ::panoptic_gs::avx512::function(__VA_ARGS__)                                                          \
         : (::panoptic_gs::active_isa() == ::panoptic_gs::Isa::avx2 ? ::panoptic_gs::avx2::function(__VA_ARGS__) \
                                                                    : ::panoptic_gs::baseline::function(__VA_ARGS__)))
#else
#define PGS_FOR_EACH_ISA(X) X(baseline)
#define PGS_DISPATCH(function, ...) ::panoptic_gs::baseline::function(__VA_ARGS__)
#endif

namespace panoptic_gs {

enum class Isa { baseline, avx2, avx512 };

// The widest set that the processor has, or the one named by PANOPTIC_GS_ISA (read at each call, so tests may switch).
// Throws std::runtime_error when the named set is unknown or the processor lacks it.
Isa active_isa();
const char* isa_name(Isa isa);

}  // namespace panoptic_gs
