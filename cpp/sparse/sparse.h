// SPDX-License-Identifier: Apache-2.0
//
// Sparse matrices in compressed rows, as scipy and torch keep them.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace panoptic_gs {

struct SparseRows {
    int64_t rows, columns;
    const int64_t* indptr;  // [rows + 1]
    const int32_t* column;  // [entries], 0 ... columns - 1
    const float* weight;    // [entries]
};

// out [rows, channels] = matrix * dense [columns, channels]. Each sum is taken in order of the row's entries, so
// nothing depends on threads.
void multiply(const SparseRows& matrix, const float* dense, int64_t channels, int threads, float* out);

// The transposed matrix: indptr [columns + 1], column and weight [entries], a row's entries in order of the columns
// that were rows.
void transpose(const SparseRows& matrix, int threads, int64_t* indptr, int32_t* column, float* weight);

#define PGS_DECLARE(isa)                                                                                           \
    namespace isa {                                                                                                \
    /* Rows [begin, end) of the product. */                                                                        \
    void multiply_rows(const SparseRows& matrix, const float* dense, int64_t channels, int64_t begin, int64_t end, \
                       float* out);                                                                                \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
