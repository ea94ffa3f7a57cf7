// SPDX-License-Identifier: Apache-2.0
// The exact, sparse sums behind label uplifting: one 64-bit integer per (Gaussian, label) pair that was ever seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/buffer.h"

namespace panoptic_gs {

// Sums are kept in units of 2^-34 of a blending weight. The smallest weight that blending lets through, 1e-4 / 255, is
// then rounded by less than 1e-4 of itself, and a pair holds 2^29 pixels of full weight before its sum would leave
// 63 bits; a sum that would is refused, never wrapped.
constexpr int kVoteFractionBits = 34;
constexpr double kVoteScale = 17179869184.0;  // 2^34
constexpr double kVoteQuantum = 1.0 / kVoteScale;

struct VoteEntry {
    uint32_t gaussian;
    uint32_t label;
    uint64_t sum;
};

// A Gaussian's first labels have a sum in its row; further ones go to an open-addressed table of (Gaussian, label)
// pairs. Both come in shards of consecutive Gaussians that have a lock each. Integer addition commutes, so the sums do
// not depend on which thread adds first.
class VoteStore {
public:
    explicit VoteStore(int64_t num_gaussians);
    VoteStore(const VoteStore&) = delete;

    int64_t num_gaussians() const { return num_gaussians_; }
    size_t num_shards() const { return shards_.size(); }
    int shift() const { return shift_; }  // shard = Gaussian >> shift
    size_t bytes() const;

    // Adds entries that all belong to one shard. Throws std::overflow_error.
    void add(size_t shard, const VoteEntry* entries, size_t count);

    // Sparse rows, labels ascending within a row, in two steps: the caller makes room for indptr[N] entries in between.
    // indptr [N + 1]; void_too: whether label 0 has entries.
    void write_indptr(bool void_too, int threads, int64_t* indptr) const;
    // label, sum [nnz] with entries of label 0, sums in units of 2^-34.
    void write_sums(const int64_t* indptr, int threads, int32_t* label, int64_t* sum) const;
    // label, weight [nnz], each row normalised to one; total, void_weight [N].
    void write_shares(const int64_t* indptr, bool void_too, int threads, int32_t* label, float* weight, float* total,
                      float* void_weight) const;

private:
    static constexpr int kInRow = 4;
    static constexpr uint32_t kFree = ~uint32_t{0};   // labels have 31 bits
    static constexpr uint64_t kEmpty = ~uint64_t{0};
    struct Row {
        uint32_t label[kInRow];
        uint64_t sum[kInRow];
    };
    struct Slot {
        uint64_t key;  // Gaussian within the shard << 32 | label
        uint64_t sum;
    };
    struct Shard {
        mutable std::mutex mutex;
        Buffer<Row> rows;
        Buffer<Slot> more;
        size_t used = 0;  // of more
    };

    int64_t shard_begin(size_t shard) const { return static_cast<int64_t>(shard) << shift_; }
    int64_t shard_end(size_t shard) const;
    template <class Visit>
    void visit_rows(size_t shard, Visit&& visit) const;
    static uint64_t* sum_of(Row& row, uint32_t label);
    static uint64_t* sum_of(Shard& shard, uint64_t key);
    static Slot& find(Buffer<Slot>& slots, uint64_t key);
    static void grow(Shard& shard);

    int64_t num_gaussians_;
    int shift_;
    std::vector<std::unique_ptr<Shard>> shards_;
};

// One thread's way into a store: entries wait in a small batch per shard, so that a lock is taken once per batch and the
// store needs no memory that grows with a view. Plain memory, since hot sources write to it.
class VoteWriter {
public:
    explicit VoteWriter(VoteStore& store);

    __attribute__((always_inline)) void add(uint32_t gaussian, uint32_t label, uint64_t sum) {
        const uint32_t shard = gaussian >> shift_;
        entries_[shard * kBatch + counts_[shard]++] = {gaussian, label, sum};
        if (counts_[shard] == kBatch) flush(shard);
    }
    void flush();

private:
    static constexpr uint32_t kBatch = 128;
    void flush(uint32_t shard);

    VoteStore& store_;
    int shift_;
    std::unique_ptr<VoteEntry[]> batches_;
    std::unique_ptr<uint32_t[]> waiting_;
    VoteEntry* entries_;
    uint32_t* counts_;
};

}  // namespace panoptic_gs
