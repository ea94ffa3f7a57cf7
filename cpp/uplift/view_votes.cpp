// SPDX-License-Identifier: Apache-2.0
#include "uplift/view_votes.h"

#include <algorithm>

namespace panoptic_gs {

ViewVotes::ViewVotes(int64_t chunks, int shift, int workers, int64_t budget)
    : chunk_shift(shift),
      threads(workers),
      chunks_(chunks),
      writer_memory_(static_cast<size_t>(workers)),
      streams_(static_cast<size_t>(workers * chunks)),
      budget_(std::max<size_t>(1, static_cast<size_t>(budget) / (kSlab * sizeof(VotePage)))) {
    writers = writer_memory_.data();
    start_round();
}

void ViewVotes::start_round() {
    used_.store(0, std::memory_order_relaxed);
    std::fill(streams_.begin(), streams_.end(), VoteStream{});
    for (int i = 0; i < threads; ++i)
        writers[i] = {this, streams_.data() + static_cast<int64_t>(i) * chunks_, nullptr, nullptr};
}

void ViewVotes::add_pages(VoteWriter& writer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t number = used_.load(std::memory_order_relaxed);
    if (number == slabs_.size()) slabs_.emplace_back(kSlab);
    used_.store(number + 1, std::memory_order_relaxed);
    writer.next = slabs_[number].data();
    writer.last = writer.next + kSlab;
}

void VoteWriter::next_page(VoteStream& stream) {
    if (next == last) votes->add_pages(*this);
    if (stream.page != nullptr) stream.page->used = stream.used(stream.page);
    next->previous = stream.page;
    stream.page = next++;
    stream.at = 0;
}

}  // namespace panoptic_gs
