// SPDX-License-Identifier: Apache-2.0
#include "merge/overlap.h"

#include "core/simd.h"

namespace panoptic_gs::PGS_ISA {

namespace {

typedef double Double8 __attribute__((vector_size(64)));
typedef double Double4 __attribute__((vector_size(32)));
typedef double Double2 __attribute__((vector_size(16)));
typedef float Float8 __attribute__((vector_size(32)));

// The sum of 16 lanes in double precision, in one order on every machine.
PGS_INLINE double sum_lanes(const float* lanes) {
    Float8 low, high;
    __builtin_memcpy(&low, lanes, sizeof low);
    __builtin_memcpy(&high, lanes + 8, sizeof high);
    const Double8 eight = __builtin_convertvector(low, Double8) + __builtin_convertvector(high, Double8);
    Double4 a, b;
    __builtin_memcpy(&a, &eight, sizeof a);
    __builtin_memcpy(&b, reinterpret_cast<const char*>(&eight) + sizeof a, sizeof b);
    const Double4 four = a + b;
    Double2 c, d;
    __builtin_memcpy(&c, &four, sizeof c);
    __builtin_memcpy(&d, reinterpret_cast<const char*>(&four) + sizeof c, sizeof d);
    const Double2 two = c + d;
    return two[0] + two[1];
}

// The masks of `count` pixels, a row of a chunk for each query, zeros beyond.
PGS_INLINE void read_masks(const OverlapJob& job, int64_t begin, int count, float* scratch) {
    for (int64_t q = 0; q < job.queries; ++q) {
        float* row = scratch + q * kOverlapChunk;
        if (job.logits != nullptr) {
            const uint16_t* logits = job.logits + q * job.pixels + begin;
            for (int p = 0; p < count; ++p) row[p] = job.sigmoid[logits[p]];
        } else {
            __builtin_memcpy(row, job.masks + q * job.pixels + begin, static_cast<size_t>(count) * sizeof(float));
        }
        for (int p = count; p < kOverlapChunk; ++p) row[p] = 0.0f;
    }
}

// Adds a chunk's minima for the pairs of 4 queries and 4 queries. The lanes of a narrow machine take turns.
PGS_INLINE void add_tile(const float* rows, const float* columns, double* sums) {
    alignas(64) float lanes[kOverlapTile][kOverlapTile][kOverlapLanes];
    // As many columns at a time as accumulators fit into the registers.
    constexpr int kColumns = kLanes == 16 ? 4 : 2;
    for (int part = 0; part < kOverlapLanes; part += kLanes)
        for (int first = 0; first < kOverlapTile; first += kColumns) {
            Float total[kOverlapTile][kColumns] = {};
            for (int p = part; p < kOverlapChunk; p += kOverlapLanes) {
                Float column[kColumns];
                for (int c = 0; c < kColumns; ++c) column[c] = load(columns + (first + c) * kOverlapChunk + p);
                for (int r = 0; r < kOverlapTile; ++r) {
                    const Float row = load(rows + r * kOverlapChunk + p);
                    for (int c = 0; c < kColumns; ++c) total[r][c] += min(row, column[c]);
                }
            }
            for (int r = 0; r < kOverlapTile; ++r)
                for (int c = 0; c < kColumns; ++c) store(&lanes[r][first + c][part], total[r][c]);
        }
    for (int r = 0; r < kOverlapTile; ++r)
        for (int c = 0; c < kOverlapTile; ++c) sums[r * kOverlapTile + c] += sum_lanes(lanes[r][c]);
}

}  // namespace

void add_overlaps(const OverlapJob& job, int64_t begin, int64_t end, float* scratch, double* sums, int64_t* totals) {
    constexpr int kPairs = kOverlapTile * kOverlapTile;
    constexpr int64_t kRow = kOverlapTile * kOverlapChunk;
    const int64_t tiles = job.tiles(), queries = job.queries;
    for (int64_t i = 0; i < job.sums_size(); ++i) sums[i] = 0.0;
    for (int64_t i = queries * kOverlapChunk; i < job.scratch_size(); ++i) scratch[i] = 0.0f;
    for (int64_t chunk = begin; chunk < end; chunk += kOverlapChunk) {
        read_masks(job, chunk, static_cast<int>(end - chunk < kOverlapChunk ? end - chunk : kOverlapChunk), scratch);
        for (int64_t i = 0; i < tiles; ++i)
            for (int64_t j = i; j < tiles; ++j)
                add_tile(scratch + i * kRow, scratch + j * kRow, sums + (i * tiles + j) * kPairs);
    }
    for (int64_t i = 0; i < queries; ++i)
        for (int64_t j = i; j < queries; ++j) {
            const int64_t tile = (i / kOverlapTile) * tiles + j / kOverlapTile;
            const double sum = sums[tile * kPairs + (i % kOverlapTile) * kOverlapTile + j % kOverlapTile];
            totals[i * queries + j] += __builtin_llrint(sum * kOverlapUnits);
        }
}

}  // namespace panoptic_gs::PGS_ISA
