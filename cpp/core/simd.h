// SPDX-License-Identifier: Apache-2.0
//
// Vectors of floats in the width of the instruction set that this translation unit is compiled for: 16 lanes with
// AVX-512, 8 with AVX2, else 4 through the compiler's vector extensions (SSE2, NEON, anything).
// `Float` and `Int` are compiler vector types: + - * / and, on Int, & | << >> work as they are.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/blend.h"
#include "core/isa.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define PGS_INLINE static inline __attribute__((always_inline))

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors never cross a call boundary here
#endif

namespace panoptic_gs::PGS_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Float __attribute__((vector_size(kLanes * 4)));
typedef int32_t Int __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Unsigned __attribute__((vector_size(kLanes * 4)));

PGS_INLINE Float splat(float x) { return x - Float{}; }
PGS_INLINE Int splat_int(int32_t x) { return x - Int{}; }
PGS_INLINE Float load(const float* p) {  // any alignment
    Float x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}
PGS_INLINE void store(float* p, Float x) { __builtin_memcpy(p, &x, sizeof x); }
PGS_INLINE Int load(const int32_t* p) {
    Int x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}
PGS_INLINE void store(int32_t* p, Int x) { __builtin_memcpy(p, &x, sizeof x); }
PGS_INLINE Int bits_of(Float x) { return (Int)x; }
PGS_INLINE Float float_of(Int x) { return (Float)x; }

PGS_INLINE Float to_float(Int x) { return __builtin_convertvector(x, Float); }

// Lanes 0, 1, 2, ... as numbers.
PGS_INLINE Float lane_numbers() {
    Float x;
    for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(i);
    return x;
}

#if defined(__AVX512F__)

struct Mask {
    __mmask16 m;
};
PGS_INLINE Mask operator&(Mask a, Mask b) { return {_kand_mask16(a.m, b.m)}; }
PGS_INLINE Mask operator|(Mask a, Mask b) { return {_kor_mask16(a.m, b.m)}; }
PGS_INLINE Mask and_not(Mask a, Mask b) { return {_kandn_mask16(b.m, a.m)}; }  // a & ~b
// In assembly, since GCC 12 may reload 32 bits from where it spilled the 16 of a mask.
PGS_INLINE uint32_t mask_bits(__mmask16 m) {
    uint32_t b;
    asm("kmovw %1, %0" : "=r"(b) : "k"(m));
    return b;
}
PGS_INLINE uint32_t mask_bits(__mmask32 m) { return m; }
PGS_INLINE uint32_t bits(Mask a) { return mask_bits(a.m); }
PGS_INLINE Mask mask_from_bits(uint32_t b) { return {static_cast<__mmask16>(b)}; }
PGS_INLINE bool any(Mask a) { return a.m != 0; }
PGS_INLINE Mask greater_equal(Float a, Float b) { return {_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ)}; }
PGS_INLINE Mask less_equal(Float a, Float b) { return {_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ)}; }
PGS_INLINE Mask less_equal(Int a, Int b) { return {_mm512_cmple_epi32_mask((__m512i)a, (__m512i)b)}; }
PGS_INLINE Mask equal(Int a, Int b) { return {_mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b)}; }
// `within & (a >= b)` and the like in one instruction.
PGS_INLINE Mask equal(Mask within, Float a, Float b) { return {_mm512_mask_cmp_ps_mask(within.m, a, b, _CMP_EQ_OQ)}; }
PGS_INLINE Mask greater_equal(Mask within, Float a, Float b) {
    return {_mm512_mask_cmp_ps_mask(within.m, a, b, _CMP_GE_OQ)};
}
PGS_INLINE Mask less_equal(Mask within, Float a, Float b) {
    return {_mm512_mask_cmp_ps_mask(within.m, a, b, _CMP_LE_OQ)};
}
PGS_INLINE Float select(Mask m, Float a, Float b) { return _mm512_mask_mov_ps(b, m.m, a); }
PGS_INLINE Int select(Mask m, Int a, Int b) { return (Int)_mm512_mask_mov_epi32((__m512i)b, m.m, (__m512i)a); }
PGS_INLINE Float zero_unless(Mask m, Float a) { return _mm512_maskz_mov_ps(m.m, a); }
PGS_INLINE Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
PGS_INLINE Float fnma(Float a, Float b, Float c) { return _mm512_fnmadd_ps(a, b, c); }
PGS_INLINE Float min(Float a, Float b) { return _mm512_min_ps(a, b); }
PGS_INLINE Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
PGS_INLINE Float abs(Float a) { return _mm512_abs_ps(a); }
PGS_INLINE Float sqrt(Float a) { return _mm512_sqrt_ps(a); }
PGS_INLINE Float ceil(Float a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF); }
PGS_INLINE Int to_int(Float a) { return (Int)_mm512_cvttps_epi32(a); }
PGS_INLINE Float reciprocal(Float a) {  // to about 1 ulp
    const Float r = _mm512_rcp14_ps(a);
    return r * fnma(a, r, splat(2.0f));
}

#elif defined(__AVX2__)

struct Mask {
    Int m;
};
PGS_INLINE Mask operator&(Mask a, Mask b) { return {a.m & b.m}; }
PGS_INLINE Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }
PGS_INLINE Mask and_not(Mask a, Mask b) { return {(Int)_mm256_andnot_si256((__m256i)b.m, (__m256i)a.m)}; }
PGS_INLINE uint32_t bits(Mask a) { return static_cast<uint32_t>(_mm256_movemask_ps((__m256)a.m)); }
PGS_INLINE Mask mask_from_bits(uint32_t b) {
    const Int lane = {1, 2, 4, 8, 16, 32, 64, 128};
    return {(splat_int(static_cast<int32_t>(b)) & lane) != 0};
}
PGS_INLINE bool any(Mask a) { return _mm256_movemask_ps((__m256)a.m) != 0; }
PGS_INLINE Mask greater_equal(Float a, Float b) { return {(Int)_mm256_cmp_ps(a, b, _CMP_GE_OQ)}; }
PGS_INLINE Mask less_equal(Float a, Float b) { return {(Int)_mm256_cmp_ps(a, b, _CMP_LE_OQ)}; }
PGS_INLINE Mask less_equal(Int a, Int b) { return {a <= b}; }
PGS_INLINE Mask equal(Int a, Int b) { return {a == b}; }
PGS_INLINE Float select(Mask m, Float a, Float b) { return _mm256_blendv_ps(b, a, (__m256)m.m); }
PGS_INLINE Int select(Mask m, Int a, Int b) { return (Int)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m.m); }
PGS_INLINE Float zero_unless(Mask m, Float a) { return _mm256_and_ps((__m256)m.m, a); }
PGS_INLINE Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
PGS_INLINE Float fnma(Float a, Float b, Float c) { return _mm256_fnmadd_ps(a, b, c); }
PGS_INLINE Float min(Float a, Float b) { return _mm256_min_ps(a, b); }
PGS_INLINE Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
PGS_INLINE Float abs(Float a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
PGS_INLINE Float sqrt(Float a) { return _mm256_sqrt_ps(a); }
PGS_INLINE Float ceil(Float a) { return _mm256_ceil_ps(a); }
PGS_INLINE Int to_int(Float a) { return (Int)_mm256_cvttps_epi32(a); }
PGS_INLINE Float reciprocal(Float a) { return splat(1.0f) / a; }

#else

struct Mask {
    Int m;
};
PGS_INLINE Mask operator&(Mask a, Mask b) { return {a.m & b.m}; }
PGS_INLINE Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }
PGS_INLINE Mask and_not(Mask a, Mask b) { return {a.m & ~b.m}; }
PGS_INLINE uint32_t bits(Mask a) {
    uint32_t b = 0;
    for (int i = 0; i < kLanes; ++i) b |= (static_cast<uint32_t>(a.m[i]) & 1u) << i;
    return b;
}
PGS_INLINE Mask mask_from_bits(uint32_t b) {
    Mask m;
    for (int i = 0; i < kLanes; ++i) m.m[i] = -static_cast<int32_t>((b >> i) & 1u);
    return m;
}
PGS_INLINE bool any(Mask a) { return (a.m[0] | a.m[1] | a.m[2] | a.m[3]) != 0; }
PGS_INLINE Mask greater_equal(Float a, Float b) { return {a >= b}; }
PGS_INLINE Mask less_equal(Float a, Float b) { return {a <= b}; }
PGS_INLINE Mask less_equal(Int a, Int b) { return {a <= b}; }
PGS_INLINE Mask equal(Int a, Int b) { return {a == b}; }
PGS_INLINE Float select(Mask m, Float a, Float b) { return (Float)(((Int)a & m.m) | ((Int)b & ~m.m)); }
PGS_INLINE Int select(Mask m, Int a, Int b) { return (a & m.m) | (b & ~m.m); }
PGS_INLINE Float zero_unless(Mask m, Float a) { return (Float)((Int)a & m.m); }
PGS_INLINE Float fma(Float a, Float b, Float c) { return a * b + c; }
PGS_INLINE Float fnma(Float a, Float b, Float c) { return c - a * b; }
PGS_INLINE Float min(Float a, Float b) { return select(less_equal(a, b), a, b); }
PGS_INLINE Float max(Float a, Float b) { return select(greater_equal(a, b), a, b); }
PGS_INLINE Float abs(Float a) { return (Float)((Int)a & 0x7fffffff); }
PGS_INLINE Float sqrt(Float a) {
    Float r;
    for (int i = 0; i < kLanes; ++i) r[i] = __builtin_sqrtf(a[i]);
    return r;
}
PGS_INLINE Float ceil(Float a) {
    Float r;
    for (int i = 0; i < kLanes; ++i) r[i] = __builtin_ceilf(a[i]);
    return r;
}
PGS_INLINE Int to_int(Float a) { return __builtin_convertvector(a, Int); }
PGS_INLINE Float reciprocal(Float a) { return splat(1.0f) / a; }

#endif

#if !defined(__AVX512F__)
PGS_INLINE Mask equal(Mask within, Float a, Float b) { return {within.m & (Int)(a == b)}; }
PGS_INLINE Mask greater_equal(Mask within, Float a, Float b) { return within & greater_equal(a, b); }
PGS_INLINE Mask less_equal(Mask within, Float a, Float b) { return within & less_equal(a, b); }
#endif

PGS_INLINE Mask operator|=(Mask& a, Mask b) { return a = a | b; }

// a + b in the lanes of m, else a.
PGS_INLINE Float add_where(Mask m, Float a, Float b) {
#if defined(__AVX512F__)
    return _mm512_mask_add_ps(a, m.m, a, b);
#else
    return a + zero_unless(m, b);
#endif
}

// Lane l of the result: a[from[l]].
PGS_INLINE Float permute(Float a, Int from) {
#if defined(__AVX512F__)
    return _mm512_permutexvar_ps((__m512i)from, a);
#elif defined(__AVX2__)
    return _mm256_permutevar8x32_ps(a, (__m256i)from);
#elif defined(__clang__)
    Float result;
    for (int lane = 0; lane < kLanes; ++lane) result[lane] = a[from[lane]];
    return result;
#else
    return __builtin_shuffle(a, from);
#endif
}
// The same from several vectors, as if one.
PGS_INLINE Float permute(const Float (&a)[1], Int from) { return permute(a[0], from); }
#if defined(__AVX512F__)
PGS_INLINE Float permute(const Float (&a)[2], Int from) { return _mm512_permutex2var_ps(a[0], (__m512i)from, a[1]); }
#endif
PGS_INLINE Int permute(Int a, Int from) { return bits_of(permute(float_of(a), from)); }

// 2^x for |x| < 120, relative error below 2e-7, of several vectors step by step together: a processor looks ahead some
// dozens of instructions, so independent work has to stand side by side; but no more than registers hold.
template <int kCount>
PGS_INLINE void exp2(const Float* x, Float* result) {
#if defined(__AVX512F__)
    // Minimax on [0, 1): the remainder of rounding down, which is what scalef puts back.
    constexpr float kCoefficients[] = {1.8775767e-3f, 8.9893397e-3f, 5.5826318e-2f,
                                       2.4015361e-1f, 6.9315308e-1f, 9.9999994e-1f};
    Float f[kCount];
    for (int i = 0; i < kCount; ++i) f[i] = _mm512_reduce_ps(x[i], _MM_FROUND_TO_NEG_INF);
#else
    constexpr float kCoefficients[] = {1.3276472e-3f, 9.6755413e-3f, 5.5507133e-2f, 2.4022110e-1f, 6.9314697e-1f, 1.0f};
    const Float magic = splat(12582912.0f);  // 1.5 * 2^23: the sum's low bits are round(x)
    Float f[kCount];
    for (int i = 0; i < kCount; ++i) f[i] = x[i] - ((x[i] + magic) - magic);
#endif
    for (int i = 0; i < kCount; ++i) result[i] = fma(f[i], splat(kCoefficients[0]), splat(kCoefficients[1]));
    for (int k = 2; k < 6; ++k)
        for (int i = 0; i < kCount; ++i) result[i] = fma(result[i], f[i], splat(kCoefficients[k]));
#if defined(__AVX512F__)
    for (int i = 0; i < kCount; ++i) result[i] = _mm512_scalef_ps(result[i], x[i]);
#else
    for (int i = 0; i < kCount; ++i)  // exponents wrap
        result[i] = float_of((Int)((Unsigned)bits_of(result[i]) + ((Unsigned)bits_of(x[i] + magic) << 23)));
#endif
}
template <int kCount>
PGS_INLINE void exp2(const Float (&x)[kCount], Float (&result)[kCount]) {
    constexpr int kTogether = kCount < 4 ? kCount : 4;
    static_assert(kCount % kTogether == 0);
#pragma GCC unroll 8
    for (int i = 0; i < kCount; i += kTogether) exp2<kTogether>(x + i, result + i);
}

// Lanes of a and b where `step` is a bit of the lane number:
//     low: a where it is not set, b[lane - step] where it is;    high: a[lane + step], b where it is set.
template <int kStep>
PGS_INLINE void interleave(Float a, Float b, Float& low, Float& high) {
#if defined(__clang__)
    for (int lane = 0; lane < kLanes; ++lane) {
        low[lane] = lane & kStep ? b[lane - kStep] : a[lane];
        high[lane] = lane & kStep ? b[lane] : a[lane + kStep];
    }
#else
    Int from_low, from_high;  // two-source lane numbers: second source from kLanes on
    for (int lane = 0; lane < kLanes; ++lane) {
        from_low[lane] = lane & kStep ? kLanes + lane - kStep : lane;
        from_high[lane] = lane & kStep ? kLanes + lane : lane + kStep;
    }
    low = __builtin_shuffle(a, b, from_low);
    high = __builtin_shuffle(a, b, from_high);
#endif
}

// Lane l of the result: the sum of row l's lanes. Leaves nothing useful in the rows.
template <int kStep = 1>
PGS_INLINE Float sum_rows(Float (&rows)[kLanes]) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i += 2 * kStep) {
        Float low, high;
        interleave<kStep>(rows[i], rows[i + kStep], low, high);
        rows[i] = low + high;
    }
    if constexpr (2 * kStep < kLanes) return sum_rows<2 * kStep>(rows);
    return rows[0];
}

PGS_INLINE Float exp2(Float x) {
    const Float one[1] = {x};
    Float result[1];
    exp2(one, result);
    return result[0];
}

PGS_INLINE int32_t sum(Int a) {
    int32_t lanes[kLanes], all = 0;
    store(lanes, a);
    for (int i = 0; i < kLanes; ++i) all += lanes[i];
    return all;
}

// The sum of the lanes, in a fixed order.
PGS_INLINE float sum(Float a) {
    float lanes[kLanes];
    store(lanes, a);
    for (int half = kLanes / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

}  // namespace panoptic_gs::PGS_ISA

namespace panoptic_gs {

template <>
struct Arithmetic<PGS_ISA::Float> {
    PGS_HD PGS_ISA::Float fma(PGS_ISA::Float a, PGS_ISA::Float b, PGS_ISA::Float c) { return PGS_ISA::fma(a, b, c); }
    PGS_HD PGS_ISA::Float fnma(PGS_ISA::Float a, PGS_ISA::Float b, PGS_ISA::Float c) { return PGS_ISA::fnma(a, b, c); }
};

}  // namespace panoptic_gs
