// SPDX-License-Identifier: Apache-2.0
// Vectors of labels for AVX-512: 16 or 32 labels of 16 bits, or 16 of 32 bits where some need them. All have the same
// functions. A mask has a bit for each lane.
//
//     sixteen(l, u)   16 labels from their lower and upper halves
//     bytes(b)        the lower 8 bytes as lanes
//     select(m, a, b) a in the lanes of m, else b
//     permute(a, i)   lane l of the result: lane i[l] of a
//     bit(a)          2^a, 0 where it does not fit
//     any(a)          the lowest 8 bits of all lanes, or-ed
//     eight(a, i)     lanes 8 i to 8 i + 7, as 64 bits each
//     has_bits(a, m)  lanes that have one of these bits
#pragma once

#include <cstdint>

#include "core/simd.h"

#if defined(__AVX512F__)

#include <immintrin.h>

#define PGS_LANES inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

struct SixteenNarrow {
    using Vector = __m256i;
    using Mask = __mmask16;
    using Label = uint16_t;
    static constexpr int kLabels = 16;

    static PGS_LANES Vector splat(int x) { return _mm256_set1_epi16(static_cast<int16_t>(x)); }
    static PGS_LANES Vector lanes() { return _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
    static PGS_LANES Vector load(const Label* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static PGS_LANES void store(Label* p, Vector a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
    static PGS_LANES Vector sixteen(__m256i lower, __m256i) { return lower; }
    static PGS_LANES Vector bytes(__m128i eight) { return _mm256_cvtepu8_epi16(eight); }
    static PGS_LANES Mask equal(Vector a, Vector b) { return _mm256_cmpeq_epi16_mask(a, b); }
    static PGS_LANES Mask below(Vector a, Vector b) { return _mm256_cmplt_epu16_mask(a, b); }
    static PGS_LANES Vector select(Mask m, Vector a, Vector b) { return _mm256_mask_mov_epi16(b, m, a); }
    static PGS_LANES Vector permute(Vector a, Vector from) { return _mm256_permutexvar_epi16(from, a); }
    static PGS_LANES Vector subtract(Vector a, Vector b) { return _mm256_sub_epi16(a, b); }
    static PGS_LANES Vector bit(Vector a) { return _mm256_sllv_epi16(splat(1), a); }  // 0 for more than 15
    static PGS_LANES uint32_t any(Vector a) {  // of all lanes; only the lower 8 bits count
        const __m128i half = _mm_or_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        const auto word = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_or_si128(half, _mm_unpackhi_epi64(half, half))));
        return static_cast<uint32_t>(word | word >> 16 | word >> 32 | word >> 48);
    }
    static PGS_LANES __m512i eight(Vector a, int group) {
        return _mm512_cvtepu16_epi64(group == 0 ? _mm256_castsi256_si128(a) : _mm256_extracti128_si256(a, 1));
    }
    static PGS_LANES Mask has_bits(Vector a, uint32_t mask) {
        return _mm256_test_epi16_mask(a, splat(static_cast<int>(mask)));
    }
};

struct WholeVector {
    using Vector = __m512i;

    static PGS_LANES Vector load(const void* p) { return _mm512_loadu_si512(p); }
    static PGS_LANES void store(void* p, Vector a) { _mm512_storeu_si512(p, a); }
};

struct Narrow : WholeVector {
    using Mask = __mmask32;
    using Label = uint16_t;
    static constexpr int kLabels = 32;

    static PGS_LANES Vector splat(int x) { return _mm512_set1_epi16(static_cast<int16_t>(x)); }
    static PGS_LANES Vector lanes() {
        return _mm512_cvtepu8_epi16(_mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
                                                     19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
    }
    static PGS_LANES Vector sixteen(__m256i lower, __m256i) { return _mm512_zextsi256_si512(lower); }
    static PGS_LANES Vector bytes(__m128i eight) { return _mm512_zextsi128_si512(_mm_cvtepu8_epi16(eight)); }
    static PGS_LANES Mask equal(Vector a, Vector b) { return _mm512_cmpeq_epi16_mask(a, b); }
    static PGS_LANES Mask below(Vector a, Vector b) { return _mm512_cmplt_epu16_mask(a, b); }
    static PGS_LANES Vector select(Mask m, Vector a, Vector b) { return _mm512_mask_mov_epi16(b, m, a); }
    static PGS_LANES Vector permute(Vector a, Vector from) { return _mm512_permutexvar_epi16(from, a); }
    static PGS_LANES Vector subtract(Vector a, Vector b) { return _mm512_sub_epi16(a, b); }
    static PGS_LANES Vector bit(Vector a) { return _mm512_sllv_epi16(splat(1), a); }
    static PGS_LANES uint32_t any(Vector a) {
        return SixteenNarrow::any(_mm256_or_si256(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1)));
    }
    static PGS_LANES __m512i eight(Vector a, int group) {
        return _mm512_cvtepu16_epi64(group == 0   ? _mm512_castsi512_si128(a)
                                     : group == 1 ? _mm512_extracti32x4_epi32(a, 1)
                                     : group == 2 ? _mm512_extracti32x4_epi32(a, 2)
                                                  : _mm512_extracti32x4_epi32(a, 3));
    }
    static PGS_LANES Mask has_bits(Vector a, uint32_t mask) {
        return _mm512_test_epi16_mask(a, splat(static_cast<int>(mask)));
    }
};

struct Wide : WholeVector {
    using Mask = __mmask16;
    using Label = uint32_t;
    static constexpr int kLabels = 16;

    static PGS_LANES Vector splat(int x) { return _mm512_set1_epi32(x); }
    static PGS_LANES Vector lanes() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
    static PGS_LANES Vector sixteen(__m256i lower, __m256i upper) {
        return _mm512_or_si512(_mm512_cvtepu16_epi32(lower), _mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
    }
    static PGS_LANES Vector bytes(__m128i eight) { return _mm512_cvtepu8_epi32(eight); }
    static PGS_LANES Mask equal(Vector a, Vector b) { return _mm512_cmpeq_epi32_mask(a, b); }
    static PGS_LANES Mask below(Vector a, Vector b) { return _mm512_cmplt_epu32_mask(a, b); }
    static PGS_LANES Vector select(Mask m, Vector a, Vector b) { return _mm512_mask_mov_epi32(b, m, a); }
    static PGS_LANES Vector permute(Vector a, Vector from) { return _mm512_permutexvar_epi32(from, a); }
    static PGS_LANES Vector subtract(Vector a, Vector b) { return _mm512_sub_epi32(a, b); }
    static PGS_LANES Vector bit(Vector a) { return _mm512_sllv_epi32(splat(1), a); }
    static PGS_LANES uint32_t any(Vector a) { return static_cast<uint32_t>(_mm512_reduce_or_epi32(a)); }
    static PGS_LANES __m512i eight(Vector a, int group) {
        return _mm512_cvtepu32_epi64(group == 0 ? _mm512_castsi512_si256(a) : _mm512_extracti64x4_epi64(a, 1));
    }
    static PGS_LANES Mask has_bits(Vector a, uint32_t mask) {
        return _mm512_test_epi32_mask(a, splat(static_cast<int>(mask)));
    }
};

}  // namespace panoptic_gs::PGS_ISA

#undef PGS_LANES

#endif
