// SPDX-License-Identifier: Apache-2.0
// The exact, sparse sums behind label uplifting: one integer per (Gaussian, label) pair that was ever seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/buffer.h"
#include "core/pages.h"

// How votes travel, from the pixels of a view to the store:
//
//     tiles, traversed by workers             pages of each (worker, chunk)                 a chunk of the store
//
//     tile 0 -- worker 0 --- run ---->  [VotePage: run run run ..][VotePage: run ..]      [row|row|row|row|row|...]
//     tile 1 -- worker 1 --- run ---->  [VotePage: run run ..]                               ^
//     tile 2 -- worker 0 --- run ---->  (appended to worker 0's)                             |
//                                              |                                             |
//                                              |   chain the runs of each Gaussian           |
//                                              '--------------------------------> RowBuilder '
//                                                                                   unpack its row, add the votes of
//     run  = a Gaussian's votes in one tile: (label, float sum) pairs               its runs, pack it into new memory
//     row  = a Gaussian's pairs in the store: (label, 64-bit sum), packed
//     chunk = the rows of some hundred consecutive Gaussians, one piece of memory that is written anew for each view
//
// label_votes.hot.cpp writes runs (view_votes.h), merge_votes.hot.cpp adds them to rows (open_row.h, and row_avx512.h
// or row_scalar.h by instruction set), packed_rows.h says what a row looks like.

namespace panoptic_gs {

// Sums are kept in units of 2^-34 of a blending weight. The smallest weight that blending lets through, 1e-4 / 255, is
// then rounded by less than 1e-4 of itself, and a pair holds 2^29 pixels of full weight before its sum would leave
// 63 bits; a sum that would is refused, never wrapped.
constexpr double kVoteScale = 17179869184.0;  // 2^34
constexpr double kVoteQuantum = 1.0 / kVoteScale;

struct VotePage;

// Where one thread builds the new rows of a chunk, and what it needs for a single one. Plain memory that hot sources
// write to; only the functions below, which are compiled once, make it larger.
struct RowBuilder {
    // A Gaussian's votes in one tile.
    struct Run {
        const VotePage* page;
        uint16_t first, votes;  // place of its first vote, and their number as in the page
        uint32_t next;          // of the same Gaussian, an index or kNoRun
    };
    static constexpr uint32_t kNoRun = ~0u;
    struct Runs {
        uint32_t first, votes;  // the first run; the votes of all of them
    };

    // The chunk's new rows, packed.
    struct {
        uint8_t* bytes = nullptr;
        int64_t used = 0, room = 0;  // of bytes
        int64_t pairs = 0, void_pairs = 0;
        bool overflow = false;  // a sum reached 2^63
    } rows;

    // The row at hand: its labels, in either array, and their sums.
    struct {
        int64_t capacity = 0;  // pairs, of all arrays
        uint32_t* label = nullptr;
        uint16_t* narrow_label = nullptr;  // if they are narrow
        uint64_t* sum = nullptr;
    } row;

    // Rows that are read out, one after another, by ascending label.
    struct {
        uint32_t* label = nullptr;
        uint64_t* sum = nullptr;
    } sorted;

    // Where in a long row a label is: an open-addressed table of indices into row.label. What does not point back at
    // its place is stale, so that it never has to be cleared.
    struct {
        uint32_t* place = nullptr;  // of row.label[i] in `index`
        uint32_t* index = nullptr;  // [places]
        int64_t places = 0;         // a power of two, at least twice the capacity
    } table;

    // The view's runs, chained by Gaussian of the chunk.
    struct {
        Runs* of_gaussian = nullptr;
        Run* all = nullptr;
        bool wide = false;  // one of them is
    } runs;

    RowBuilder() = default;
    RowBuilder(const RowBuilder&) = delete;

    void reserve_bytes(int64_t more);                                      // room for so many bytes behind `used`
    void append(const uint8_t* first, const uint8_t* last);                // packed rows as they are
    void reserve_pairs(int64_t count);                                     // drops what the arrays of pairs hold
    void sort_pairs(int64_t count, uint32_t* to_label, uint64_t* to_sum);  // label and sum, by label
    void reserve_runs(int64_t gaussians, int64_t count);                   // drops all runs

private:
    Buffer<uint8_t> byte_memory_, pair_memory_;
    Buffer<Runs> runs_of_memory_;
    Buffer<Run> run_memory_;
};

// Rows of packed pairs (packed_rows.h) in chunks of consecutive Gaussians. A view's votes are added by writing the rows
// of a chunk anew; Gaussians are independent and integer addition commutes, so neither the order of views nor threads
// show in the sums.
class VoteStore {
public:
    struct Chunk {
        PagedBytes bytes;                   // of size 0: all rows are empty
        int64_t pairs = 0, void_pairs = 0;  // void_pairs: of label 0
    };

    explicit VoteStore(int64_t num_gaussians);
    VoteStore(const VoteStore&) = delete;

    int64_t num_gaussians() const { return num_gaussians_; }
    int64_t num_chunks() const { return static_cast<int64_t>(chunks_.size()); }
    int64_t chunk_begin(int64_t chunk) const { return chunk << chunk_shift_; }
    int chunk_shift() const { return chunk_shift_; }  // of a Gaussian, to its chunk
    int64_t chunk_end(int64_t chunk) const;
    const Chunk& chunk(int64_t index) const { return chunks_[static_cast<size_t>(index)]; }
    // The rows of a chunk, kRowSlack readable bytes behind them.
    const uint8_t* rows(int64_t chunk) const;
    size_t bytes() const;
    int64_t num_pairs(bool void_too) const;
    std::mutex& mutex() const { return mutex_; }  // for whoever replaces chunks or reads them meanwhile

    // Replaces the rows of a chunk by those that were built. Throws std::overflow_error if a sum left its range; the
    // rows stay as they were then.
    void replace(int64_t chunk, RowBuilder& builder);

    // Adds pairs in any order, any pair any number of times. Throws std::overflow_error.
    void add(const int64_t* gaussian, const int32_t* label, const int64_t* sum, int64_t count);

    // Sparse rows, labels ascending within a row: indptr [N + 1], label and sum [count]. `count` is num_pairs(true) as
    // the caller found it; throws std::runtime_error if views were added since.
    void write_sums(int64_t count, int threads, int64_t* indptr, int32_t* label, int64_t* sum) const;
    // label, weight [count], num_pairs(void_too) as above, each row normalised to one; total, void_weight [N].
    void write_shares(int64_t count, bool void_too, int threads, int64_t* indptr, int32_t* label, float* weight,
                      float* total, float* void_weight) const;

    // The pairs of one chunk, chunk(index).pairs of them, ascending: key = Gaussian * 2^32 + label, and sum.
    void write_chunk(int64_t index, int64_t* key, int64_t* sum) const;

private:
    // Calls visit(gaussian, labels, sums, number of pairs, first entry), labels ascending, for each Gaussian, chunks in
    // parallel, and writes indptr. It returns the entry behind its last.
    template <class Visit>
    void visit_rows(int64_t count, bool void_too, int threads, int64_t* indptr, Visit&& visit) const;

    int64_t num_gaussians_;
    int chunk_shift_ = 8;
    std::vector<Chunk> chunks_;
    std::vector<uint8_t> empty_rows_;  // of a chunk
    mutable std::mutex mutex_;
};

}  // namespace panoptic_gs
