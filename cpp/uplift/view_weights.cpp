// SPDX-License-Identifier: Apache-2.0
#include "uplift/view_weights.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>

#include "core/thread_pool.h"

namespace panoptic_gs {

namespace {

std::mutex pages_mutex;  // pages are few: one lock for all views does

}  // namespace

WeightPage* ViewWeights::new_page() {
    const std::lock_guard<std::mutex> lock(pages_mutex);
    pages_.emplace_back(1);
    WeightPage* page = pages_.back().data();
    page->next = nullptr;
    page->used = 0;
    return page;
}

void WeightWriter::next_page() {
    WeightPage* fresh = weights->new_page();
    page->next = fresh;
    page = fresh;
}

ViewWeights::ViewWeights(const View& view, const int32_t* row_of, int64_t rows, int threads)
    : view_(&view), row_of_(row_of), rows_(rows), tiles_(static_cast<size_t>(view.tiles())) {
    std::vector<WeightWriter> writers(static_cast<size_t>(threads));
    for (WeightWriter& writer : writers) writer = {this, new_page()};
    Buffer<uint8_t> touched(static_cast<size_t>(view.intersections()));
    std::memset(touched.data(), 0, touched.size());
    const WeightArguments arguments{view, row_of, writers.data(), tiles_.data(), touched.data(), threads};
    PGS_DISPATCH(collect_weights, arguments);
    count_rows(threads);
    number_columns(touched.data(), threads);
}

int64_t ViewWeights::row_of_pixel(int tile, uint32_t pixel) const {
    const int block = static_cast<int>(pixel / kBlockPixels), within = static_cast<int>(pixel % kBlockPixels);
    const int x = tile % view_->tiles_x * kTile + block % kBlocksPerSide * kBlock + within % kBlock;
    const int y = tile / view_->tiles_x * kTile + block / kBlocksPerSide * kBlock + within / kBlock;
    if (x >= view_->width || y >= view_->height) return -1;
    const int64_t at = static_cast<int64_t>(y) * view_->width + x;
    return row_of_ == nullptr ? at : row_of_[at];
}

// Calls visit(page, place) for each of a tile's entries, in order.
template <class Visit>
void ViewWeights::visit_tile(int tile, Visit&& visit) const {
    const TileEntries& entries = tiles_[static_cast<size_t>(tile)];
    uint32_t left = entries.count, at = entries.at;
    for (const WeightPage* page = entries.page; left > 0; page = page->next, at = 0) {
        const uint32_t end = std::min(page->used, at + left);
        left -= end - at;
        for (; at < end; ++at) visit(*page, at);
    }
}

void ViewWeights::count_rows(int threads) {
    indptr_.assign(static_cast<size_t>(rows_) + 1, 0);
    parallel_for(view_->tiles(), threads, [&](int64_t tile, int) {
        uint32_t counts[kTile * kTile] = {};
        visit_tile(static_cast<int>(tile), [&](const WeightPage& page, uint32_t at) { ++counts[page.pixels[at]]; });
        for (uint32_t pixel = 0; pixel < kTile * kTile; ++pixel)
            if (counts[pixel] != 0)
                indptr_[static_cast<size_t>(row_of_pixel(static_cast<int>(tile), pixel)) + 1] = counts[pixel];
    });
    std::partial_sum(indptr_.begin(), indptr_.end(), indptr_.begin());
}

void ViewWeights::number_columns(const uint8_t* touched, int threads) {
    constexpr int64_t kRanks = 4096;
    column_of_.allocate(static_cast<size_t>(view_->visible()));
    parallel_for((view_->visible() + kRanks - 1) / kRanks, threads, [&](int64_t chunk, int) {
        for (int64_t rank = chunk * kRanks; rank < std::min(view_->visible(), (chunk + 1) * kRanks); ++rank) {
            bool seen = false;
            for (uint32_t i = view_->rank_offsets[static_cast<size_t>(rank)];
                 i < view_->rank_offsets[static_cast<size_t>(rank) + 1]; ++i)
                seen |= touched[view_->rank_entries[i]] != 0;
            column_of_[static_cast<size_t>(rank)] = seen ? 0 : -1;
        }
    });
    for (int64_t gaussian = 0; gaussian < view_->count; ++gaussian) {
        const int32_t rank = view_->rank_of[static_cast<size_t>(gaussian)];
        if (rank >= 0 && column_of_[static_cast<size_t>(rank)] >= 0)
            column_of_[static_cast<size_t>(rank)] = static_cast<int32_t>(num_columns_++);
    }
}

void ViewWeights::write(int threads, int64_t* indptr, int64_t* gaussians, int32_t* column, float* weight) const {
    std::copy(indptr_.begin(), indptr_.end(), indptr);
    for (int64_t rank = 0; rank < view_->visible(); ++rank) {
        const int32_t own = column_of_[static_cast<size_t>(rank)];
        if (own >= 0) gaussians[own] = view_->footprints[static_cast<size_t>(rank)].id;
    }
    parallel_for(view_->tiles(), threads, [&](int64_t index, int) {
        const int tile = static_cast<int>(index);
        if (tiles_[static_cast<size_t>(index)].count == 0) return;
        int64_t next[kTile * kTile];
        for (uint32_t pixel = 0; pixel < kTile * kTile; ++pixel) {
            const int64_t row = row_of_pixel(tile, pixel);
            next[pixel] = row < 0 ? 0 : indptr_[static_cast<size_t>(row)];
        }
        visit_tile(tile, [&](const WeightPage& page, uint32_t at) {
            const int64_t to = next[page.pixels[at]]++;
            column[to] = column_of_[page.ranks[at]];
            weight[to] = page.weights[at];
        });
    });
}

}  // namespace panoptic_gs
