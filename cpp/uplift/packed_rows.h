// SPDX-License-Identifier: Apache-2.0
// How a Gaussian's sums are kept: a row of (label, sum) pairs in any order, each label once, labels and sums by
// themselves so that vectors of them are read and written.
//
//     number of pairs   1 byte; 255 is followed by 4 bytes with the number
//     widths            1 byte: bytes of a label | bytes of a sum's upper part << 4; not there in an empty row
//     labels            1, 2 or 4 bytes each: 1 for labels below 2^8, 2 below 2^15
//     sums              their lower 32 bits each, then their upper parts, 2 or 4 bytes each
//
// Rows follow one another without a gap. Everything is inlined, for hot sources include this too.
#pragma once

#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define PGS_PACKED static inline __attribute__((always_inline))

namespace panoptic_gs {

constexpr int kNarrowBits = 15;  // labels of so many bits are narrow: two bytes hold them and one bit more
// Pairs that are read and written in one go, even where there are fewer.
#if defined(__AVX512F__)
constexpr int kRowGroup = 16;
#else
constexpr int kRowGroup = 4;
#endif
constexpr int64_t kRowSlack = 64;  // bytes after the last row that may be read and written

struct PackedRow {
    const uint8_t* labels;
    uint32_t count;
    int label_bytes, upper_bytes;

    __attribute__((always_inline)) const uint8_t* sums() const {
        return labels + static_cast<int64_t>(count) * label_bytes;
    }
    __attribute__((always_inline)) const uint8_t* end() const {
        return labels + static_cast<int64_t>(count) * (label_bytes + 4 + upper_bytes);
    }
};

// The row that begins at `p`.
PGS_PACKED PackedRow read_row(const uint8_t* p) {
    PackedRow row{nullptr, *p++, 0, 0};
    if (row.count == 255) {
        __builtin_memcpy(&row.count, p, sizeof row.count);
        p += sizeof row.count;
    }
    if (row.count != 0) {
        row.label_bytes = *p & 15;
        row.upper_bytes = *p++ >> 4;
    }
    row.labels = p;
    return row;
}

constexpr int64_t packed_bound(int64_t count) { return 6 + 12 * count + kRowSlack; }

// From and to a group of numbers of another width; by hand, since GCC does not vectorise the loops.
#if defined(__AVX512F__)
PGS_PACKED __m128i load_bytes16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
PGS_PACKED __m256i load_bytes32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
PGS_PACKED void store_bytes(uint8_t* p, __m128i all) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), all); }
PGS_PACKED void store_bytes(uint8_t* p, __m256i all) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), all); }

template <class Packed>
PGS_PACKED void widen_labels(const uint8_t* from, uint16_t* to) {
    const __m256i all = sizeof(Packed) == 1 ? _mm256_cvtepu8_epi16(load_bytes16(from)) : load_bytes32(from);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), all);
}
template <class Packed>
PGS_PACKED void widen_labels(const uint8_t* from, uint32_t* to) {
    const __m512i all = sizeof(Packed) == 1   ? _mm512_cvtepu8_epi32(load_bytes16(from))
                        : sizeof(Packed) == 2 ? _mm512_cvtepu16_epi32(load_bytes32(from))
                                              : _mm512_loadu_si512(from);
    _mm512_storeu_si512(to, all);
}
template <class Packed>
PGS_PACKED void narrow_labels(const uint16_t* from, uint8_t* to) {
    const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    if constexpr (sizeof(Packed) == 1)
        store_bytes(to, _mm256_cvtepi16_epi8(all));
    else
        store_bytes(to, all);
}
template <class Packed>
PGS_PACKED void narrow_labels(const uint32_t* from, uint8_t* to) {
    const __m512i all = _mm512_loadu_si512(from);
    if constexpr (sizeof(Packed) == 1)
        store_bytes(to, _mm512_cvtepi32_epi8(all));
    else if constexpr (sizeof(Packed) == 2)
        store_bytes(to, _mm512_cvtepi32_epi16(all));
    else
        _mm512_storeu_si512(to, all);
}
template <class Upper>
PGS_PACKED void widen_sums(const uint8_t* low, const uint8_t* upper, uint64_t* to) {
    for (int half = 0; half < 2; ++half) {
        const __m512i uppers = sizeof(Upper) == 2 ? _mm512_cvtepu16_epi64(load_bytes16(upper + 16 * half))
                                                  : _mm512_cvtepu32_epi64(load_bytes32(upper + 32 * half));
        const __m512i lows = _mm512_cvtepu32_epi64(load_bytes32(low + 32 * half));
        _mm512_storeu_si512(to + 8 * half, _mm512_or_si512(lows, _mm512_slli_epi64(uppers, 32)));
    }
}
template <class Packed, int kShift>
PGS_PACKED void narrow_sums(const uint64_t* from, uint8_t* to) {
    for (int half = 0; half < 2; ++half) {
        const __m512i all = _mm512_srli_epi64(_mm512_loadu_si512(from + 8 * half), kShift);
        if constexpr (sizeof(Packed) == 2)
            store_bytes(to + 16 * half, _mm512_cvtepi64_epi16(all));
        else
            store_bytes(to + 32 * half, _mm512_cvtepi64_epi32(all));
    }
}
#else
template <class Packed, class Label>
PGS_PACKED void widen_labels(const uint8_t* from, Label* to) {
    Packed own[kRowGroup];
    __builtin_memcpy(own, from, sizeof own);
    for (int i = 0; i < kRowGroup; ++i) to[i] = static_cast<Label>(own[i]);
}
template <class Packed, class Label>
PGS_PACKED void narrow_labels(const Label* from, uint8_t* to) {
    Packed own[kRowGroup];
    for (int i = 0; i < kRowGroup; ++i) own[i] = static_cast<Packed>(from[i]);
    __builtin_memcpy(to, own, sizeof own);
}
template <class Upper>
PGS_PACKED void widen_sums(const uint8_t* low, const uint8_t* upper, uint64_t* to) {
    uint32_t lows[kRowGroup];
    Upper uppers[kRowGroup];
    __builtin_memcpy(lows, low, sizeof lows);
    __builtin_memcpy(uppers, upper, sizeof uppers);
    for (int i = 0; i < kRowGroup; ++i) to[i] = lows[i] | static_cast<uint64_t>(uppers[i]) << 32;
}
template <class Packed, int kShift>
PGS_PACKED void narrow_sums(const uint64_t* from, uint8_t* to) {
    Packed own[kRowGroup];
    for (int i = 0; i < kRowGroup; ++i) own[i] = static_cast<Packed>(from[i] >> kShift);
    __builtin_memcpy(to, own, sizeof own);
}
#endif

template <class Packed, class Label>
PGS_PACKED void unpack_labels(const uint8_t* from, uint32_t count, Label* label) {
    for (uint32_t i = 0; i < count; i += kRowGroup) widen_labels<Packed>(from + i * sizeof(Packed), label + i);
}

template <class Upper>
PGS_PACKED void unpack_sums(const uint8_t* from, uint32_t count, uint64_t* sum) {
    const uint8_t* uppers = from + int64_t{4} * count;
    for (uint32_t i = 0; i < count; i += kRowGroup)
        widen_sums<Upper>(from + int64_t{4} * i, uppers + i * sizeof(Upper), sum + i);
}

// `label` and `sum` have room for all pairs, rounded up to whole groups. A row of narrow labels may go to 16 bits.
template <class Label>
PGS_PACKED void unpack_row(const PackedRow& row, Label* label, uint64_t* sum) {
    if (row.label_bytes == 1)
        unpack_labels<uint8_t>(row.labels, row.count, label);
    else if (row.label_bytes == 2)
        unpack_labels<uint16_t>(row.labels, row.count, label);
    else
        unpack_labels<uint32_t>(row.labels, row.count, label);
    if (row.upper_bytes == 2)
        unpack_sums<uint16_t>(row.sums(), row.count, sum);
    else
        unpack_sums<uint32_t>(row.sums(), row.count, sum);
}

template <class Packed, class Label>
PGS_PACKED uint8_t* pack_labels(uint8_t* p, const Label* label, uint32_t count) {
    for (uint32_t i = 0; i < count; i += kRowGroup) narrow_labels<Packed>(label + i, p + i * sizeof(Packed));
    return p + count * sizeof(Packed);
}

template <class Upper>
PGS_PACKED uint8_t* pack_sums(uint8_t* p, const uint64_t* sum, uint32_t count) {
    // Whole groups are written, so what lies behind comes later.
    for (uint32_t i = 0; i < count; i += kRowGroup) narrow_sums<uint32_t, 0>(sum + i, p + i * 4);
    p += int64_t{4} * count;
    for (uint32_t i = 0; i < count; i += kRowGroup) narrow_sums<Upper, 32>(sum + i, p + i * sizeof(Upper));
    return p + count * sizeof(Upper);
}

// Writes a row to `p`, where packed_bound(count) bytes are free; returns its end. Whole groups of `label` and `sum` are
// read. `labels` and `sums`: all bits of its labels and of its sums.
template <class Label>
PGS_PACKED uint8_t* write_row(uint8_t* p, const Label* label, const uint64_t* sum, uint32_t count, uint32_t labels,
                              uint64_t sums) {
    *p++ = static_cast<uint8_t>(count < 255 ? count : 255);
    if (count == 0) return p;
    if (count >= 255) {
        __builtin_memcpy(p, &count, sizeof count);
        p += sizeof count;
    }
    const int label_bytes = labels < 1u << 8 ? 1 : labels < 1u << kNarrowBits ? 2 : 4;
    const int upper_bytes = sums < uint64_t{1} << 48 ? 2 : 4;
    *p++ = static_cast<uint8_t>(label_bytes | upper_bytes << 4);
    p = label_bytes == 1   ? pack_labels<uint8_t>(p, label, count)
        : label_bytes == 2 ? pack_labels<uint16_t>(p, label, count)
                           : pack_labels<uint32_t>(p, label, count);
    return upper_bytes == 2 ? pack_sums<uint16_t>(p, sum, count) : pack_sums<uint32_t>(p, sum, count);
}

}  // namespace panoptic_gs
