// SPDX-License-Identifier: Apache-2.0
// How a Gaussian's sums are kept: a row of (label, sum) pairs in any order, each label once, in as few whole bytes as the
// row's greatest label and greatest sum need.
//
//     number of pairs   1 byte; 255 is followed by 4 bytes with the number
//     widths            1 byte: label bytes - 1 | (sum bytes - 1) << 2; not there in an empty row
//     pairs             label, sum, label, sum, ... little-endian
//
// Rows follow one another without a gap. Everything is inlined, for hot sources include this too.
#pragma once

#include <cstdint>

#define PGS_PACKED static inline __attribute__((always_inline))

namespace panoptic_gs {

// Readers and writers take whole words; so many bytes behind the last row belong to it.
constexpr int64_t kRowSlack = 16;

struct PackedRow {
    const uint8_t* pairs;
    uint32_t count;
    int label_bytes, sum_bytes;

    __attribute__((always_inline)) const uint8_t* end() const {
        return pairs + static_cast<int64_t>(count) * (label_bytes + sum_bytes);
    }
};

PGS_PACKED uint32_t load_word(const uint8_t* p) {
    uint32_t x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}
PGS_PACKED uint64_t load_double_word(const uint8_t* p) {
    uint64_t x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}

// The row that begins at `p`.
PGS_PACKED PackedRow read_row(const uint8_t* p) {
    PackedRow row{nullptr, *p++, 1, 1};
    if (row.count == 255) {
        row.count = load_word(p);
        p += 4;
    }
    if (row.count != 0) {
        row.label_bytes = (*p & 3) + 1;
        row.sum_bytes = (*p++ >> 2) + 1;
    }
    row.pairs = p;
    return row;
}

// Walks over the pairs of a row.
struct PairReader {
    const uint8_t* p;
    int label_bytes, step;
    uint32_t label_mask;
    uint64_t sum_mask;

    __attribute__((always_inline)) explicit PairReader(const PackedRow& row)
        : p(row.pairs), label_bytes(row.label_bytes), step(row.label_bytes + row.sum_bytes),
          label_mask(~uint32_t{0} >> (32 - 8 * row.label_bytes)), sum_mask(~uint64_t{0} >> (64 - 8 * row.sum_bytes)) {}
    __attribute__((always_inline)) uint32_t label() const { return load_word(p) & label_mask; }
    __attribute__((always_inline)) uint64_t sum() const { return load_double_word(p + label_bytes) & sum_mask; }
    __attribute__((always_inline)) void next() { p += step; }
};

PGS_PACKED int64_t packed_bound(int64_t count) { return 6 + 12 * count + kRowSlack; }

// `label` and `sum` have room for all pairs.
PGS_PACKED void unpack_row(const PackedRow& row, uint32_t* label, uint64_t* sum) {
    PairReader pair(row);
    for (uint32_t i = 0; i < row.count; ++i, pair.next()) {
        label[i] = pair.label();
        sum[i] = pair.sum();
    }
}

// Writes a row to `p`, where packed_bound(count) bytes are free; returns its end. `labels` and `sums`: all bits of its
// labels and of its sums, perhaps with others that are not above the highest of them.
PGS_PACKED uint8_t* write_row(uint8_t* p, const uint32_t* label, const uint64_t* sum, uint32_t count, uint32_t labels,
                              uint64_t sums) {
    *p++ = static_cast<uint8_t>(count < 255 ? count : 255);
    if (count == 0) return p;
    if (count >= 255) {
        __builtin_memcpy(p, &count, sizeof count);
        p += 4;
    }
    const int label_bytes = (39 - __builtin_clz(labels | 1)) / 8;
    const int sum_bytes = (71 - __builtin_clzll(sums | 1)) / 8;
    *p++ = static_cast<uint8_t>((label_bytes - 1) | (sum_bytes - 1) << 2);
    const int step = label_bytes + sum_bytes, shift = 8 * label_bytes;
    if (step <= 8) {
        for (uint32_t i = 0; i < count; ++i, p += step) {
            const uint64_t pair = label[i] | sum[i] << shift;
            __builtin_memcpy(p, &pair, sizeof pair);
        }
        return p;
    }
    for (uint32_t i = 0; i < count; ++i, p += step) {
        __builtin_memcpy(p, label + i, sizeof *label);
        __builtin_memcpy(p + label_bytes, sum + i, sizeof *sum);
    }
    return p;
}

}  // namespace panoptic_gs
