// SPDX-License-Identifier: Apache-2.0
// The votes of one view on their way into a store: for each (Gaussian, tile) pair the labels that it votes for, with
// float sums. Memory is bounded: tiles that find it full are put off to a further round.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/buffer.h"

namespace panoptic_gs {

class ViewVotes {
public:
    // `count` labels and then `count` weights, as words; `first` counts through all pieces.
    struct Run {
        uint32_t first, count;
    };
    static constexpr uint32_t kPiece = 1u << 20;  // words

    // `budget`: bytes after which tiles are put off.
    ViewVotes(int64_t intersections, int64_t budget);

    // Another piece, for one worker; its number. Throws std::length_error beyond 2^32 words.
    uint32_t add_piece();
    __attribute__((always_inline)) bool full() const { return used_.load(std::memory_order_relaxed) >= budget_; }
    void start_round();  // forgets all votes and keeps the memory

    __attribute__((always_inline)) const uint32_t* labels_of(Run run) const {
        return pieces[run.first / kPiece] + run.first % kPiece;
    }

    Run* runs;          // [intersections]
    uint32_t** pieces;  // [kPiece] words each

private:
    uint32_t budget_;  // pieces
    std::atomic<uint32_t> used_{0};
    Buffer<Run> run_memory_;
    Buffer<uint32_t*> piece_table_;
    std::vector<Buffer<uint32_t>> piece_memory_;
    std::mutex mutex_;
};

// One worker's place to write votes to. Plain memory, since hot sources write to it.
struct VoteWriter {
    ViewVotes* votes = nullptr;
    uint32_t* words = nullptr;
    uint32_t piece = 0, used = ViewVotes::kPiece;

    void next_piece();
    // Room for `count` <= kPiece words, and a vector behind them.
    __attribute__((always_inline)) void reserve(uint32_t count) {
        if (used + count > ViewVotes::kPiece) next_piece();
    }
};

}  // namespace panoptic_gs
