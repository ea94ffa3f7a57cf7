// SPDX-License-Identifier: Apache-2.0
#include "uplift/view_votes.h"

#include <algorithm>
#include <stdexcept>

namespace panoptic_gs {

namespace {

constexpr size_t kSlack = 64;             // vectors are written whole
constexpr size_t kMostPieces = 1u << 12;  // 2^32 words

}  // namespace

ViewVotes::ViewVotes(int64_t intersections, int64_t budget)
    : budget_(static_cast<uint32_t>(std::max<int64_t>(1, budget / (4 * kPiece)))),
      run_memory_(static_cast<size_t>(intersections)),
      piece_table_(kMostPieces) {
    runs = run_memory_.data();
    pieces = piece_table_.data();
}

uint32_t ViewVotes::add_piece() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint32_t number = used_.load(std::memory_order_relaxed);
    if (number == kMostPieces) throw std::length_error("more than 2^31 votes in one view");
    if (number == piece_memory_.size()) {
        piece_memory_.emplace_back(kPiece + kSlack);
        pieces[number] = piece_memory_.back().data();
    }
    used_.store(number + 1, std::memory_order_relaxed);
    return number;
}

void ViewVotes::start_round() {
    used_.store(0, std::memory_order_relaxed);
    std::fill_n(runs, run_memory_.size(), Run{0, 0});
}

void VoteWriter::next_piece() {
    piece = votes->add_piece();
    words = votes->pieces[piece];
    used = 0;
}

}  // namespace panoptic_gs
