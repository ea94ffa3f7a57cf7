// SPDX-License-Identifier: Apache-2.0
#include "sparse/sparse.h"

#include <algorithm>
#include <cstring>

#include "core/buffer.h"
#include "core/thread_pool.h"

namespace panoptic_gs {

void multiply(const SparseRows& matrix, const float* dense, int64_t channels, int threads, float* out) {
    constexpr int64_t kRows = 256;
    parallel_for((matrix.rows + kRows - 1) / kRows, threads, [&](int64_t chunk, int) {
        PGS_DISPATCH(multiply_rows, matrix, dense, channels, chunk * kRows, std::min((chunk + 1) * kRows, matrix.rows),
                     out);
    });
}

// A counting sort by column, which is stable: any number of parts gives the same result.
void transpose(const SparseRows& matrix, int threads, int64_t* indptr, int32_t* column, float* weight) {
    const int64_t entries = matrix.indptr[matrix.rows];
    const int parts = entries < 65536 ? 1 : threads;
    // The rows of each part hold about as many entries.
    const auto first_row = [&](int64_t part) {
        const int64_t* end = matrix.indptr + matrix.rows;
        return part == parts ? matrix.rows
                             : std::lower_bound(matrix.indptr, end, entries * part / parts) - matrix.indptr;
    };
    Buffer<int64_t> cursors(static_cast<size_t>(parts * matrix.columns));
    parallel_for(parts, threads, [&](int64_t part, int) {
        int64_t* counts = cursors.data() + part * matrix.columns;
        std::memset(counts, 0, static_cast<size_t>(matrix.columns) * sizeof *counts);
        const int64_t end = matrix.indptr[first_row(part + 1)];
        for (int64_t entry = matrix.indptr[first_row(part)]; entry < end; ++entry) ++counts[matrix.column[entry]];
    });
    int64_t sum = 0;
    for (int64_t c = 0; c < matrix.columns; ++c) {
        indptr[c] = sum;
        for (int64_t part = 0; part < parts; ++part) {
            int64_t& cursor = cursors[static_cast<size_t>(part * matrix.columns + c)];
            const int64_t here = cursor;
            cursor = sum;
            sum += here;
        }
    }
    indptr[matrix.columns] = sum;
    parallel_for(parts, threads, [&](int64_t part, int) {
        int64_t* cursor = cursors.data() + part * matrix.columns;
        for (int64_t row = first_row(part); row < first_row(part + 1); ++row)
            for (int64_t entry = matrix.indptr[row]; entry < matrix.indptr[row + 1]; ++entry) {
                const int64_t to = cursor[matrix.column[entry]]++;
                column[to] = static_cast<int32_t>(row);
                weight[to] = matrix.weight[entry];
            }
    });
}

}  // namespace panoptic_gs
