// SPDX-License-Identifier: Apache-2.0
// The votes of one view on their way into a store: for each (Gaussian, tile) pair the labels that it votes for, with
// float sums. Each worker collects them by chunk of the store, so that whoever merges a chunk finds its votes together.
// Memory is bounded: tiles that find it full are put off to a further round.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/buffer.h"

namespace panoptic_gs {

// Runs of votes, one after another. A run begins with a place for its Gaussian (in `weights`, counted from the chunk's
// first) and the number of its votes (in `labels`); its votes follow. Arrays, so that vectors are read and written, and
// the upper halves of labels by themselves, since few maps have any: memory that is not written costs nothing.
struct VotePage {
    static constexpr uint32_t kPlaces = 1022;
    static constexpr uint32_t kMostVotes = 512;  // of a run; a (Gaussian, tile) pair with more makes several
    static constexpr uint32_t kWide = 1u << 15;  // added to their number where the upper halves of labels are written
    static constexpr uint32_t kSlack = 16;       // vectors are read and written whole

    VotePage* previous;
    uint32_t used, unused;
    uint32_t weights[kPlaces];  // bits of floats
    uint16_t labels[kPlaces], upper_labels[kPlaces];
};
static_assert(sizeof(VotePage) == 8192 && VotePage::kPlaces >= 1 + VotePage::kMostVotes + VotePage::kSlack);

// What one worker has for one chunk. `used` of the page at hand is not yet set.
struct VoteStream {
    VotePage* page = nullptr;
    uint32_t at = VotePage::kPlaces;  // the next free place
    uint32_t runs = 0;

    __attribute__((always_inline)) uint32_t used(const VotePage* of) const { return of == page ? at : of->used; }
};

class ViewVotes;

// One worker's place to write votes to. Plain memory, since hot sources write to it.
struct VoteWriter {
    ViewVotes* votes = nullptr;
    VoteStream* streams = nullptr;  // [chunks]
    VotePage* next = nullptr;       // free pages [next, last)
    VotePage* last = nullptr;

    void next_page(VoteStream& stream);
    // Room for a run of `count` votes and one vector more.
    __attribute__((always_inline)) void reserve(VoteStream& stream, uint32_t count) {
        if (stream.at + 1 + count + VotePage::kSlack > VotePage::kPlaces) next_page(stream);
    }
};

class ViewVotes {
public:
    // Gaussian n belongs to chunk n >> chunk_shift. `budget`: bytes after which tiles are put off.
    ViewVotes(int64_t chunks, int chunk_shift, int threads, int64_t budget);

    void start_round();  // forgets all votes and keeps the memory
    __attribute__((always_inline)) bool full() const { return used_.load(std::memory_order_relaxed) >= budget_; }
    void add_pages(VoteWriter& writer);

    int chunk_shift, threads;
    VoteWriter* writers;  // [threads]

private:
    static constexpr size_t kSlab = 512;  // pages that a worker gets at once: 4 MB

    int64_t chunks_;
    std::vector<VoteWriter> writer_memory_;
    std::vector<VoteStream> streams_;
    size_t budget_;  // slabs
    std::atomic<size_t> used_{0};
    std::vector<Buffer<VotePage>> slabs_;
    std::mutex mutex_;
};

}  // namespace panoptic_gs
