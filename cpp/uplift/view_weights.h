// SPDX-License-Identifier: Apache-2.0
//
// The blending weights of one view as a sparse matrix [pixels, Gaussians that they see], all pixels or some of them.
//
//     traversal    each tile's (pixel, Gaussian, weight) entries, as they are blended, into its worker's pages
//     counting     entries of each pixel -> where its row begins;  seen Gaussians, ascending -> columns
//     writing      each tile's entries to their pixels' rows, where they come in order of depth
//
// A pixel belongs to one tile and a tile to one worker, so nothing depends on threads.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/isa.h"
#include "core/view.h"

namespace panoptic_gs {

// Entries one after another, in arrays so that vectors of them are written whole.
struct WeightPage {
    static constexpr uint32_t kPlaces = 6500;
    static constexpr uint32_t kSlack = 16;  // vectors are written whole

    WeightPage* next;
    uint32_t used, unused;
    uint32_t ranks[kPlaces + kSlack];
    float weights[kPlaces + kSlack];
    uint16_t pixels[kPlaces + kSlack];  // block of the tile * kBlockPixels + pixel of the block
};

class ViewWeights;

// One worker's place to write entries to. Plain memory, since hot sources write to it.
struct WeightWriter {
    ViewWeights* weights;
    WeightPage* page;

    void next_page();  // compiled once
};

// Where a tile's entries begin.
struct TileEntries {
    WeightPage* page = nullptr;
    uint32_t at = 0;
    uint32_t count = 0;
};

// What the traversal reads and writes.
struct WeightArguments {
    const View& view;
    const int32_t* row_of;  // [H * W] row of a pixel, -1: not asked for; null: all pixels are, in order
    WeightWriter* writers;  // [threads]
    TileEntries* tiles;     // [tiles]
    uint8_t* touched;       // [intersections] set where the pair has an entry; zeros before
    int threads;
};

class ViewWeights {
public:
    // `row_of` as above, values 0 ... rows - 1, each once.
    ViewWeights(const View& view, const int32_t* row_of, int64_t rows, int threads);
    ViewWeights(const ViewWeights&) = delete;

    int64_t rows() const { return rows_; }
    int64_t num_entries() const { return static_cast<int64_t>(indptr_.back()); }
    int64_t num_columns() const { return num_columns_; }

    // indptr [rows + 1]; gaussians [columns], ascending; column, weight [entries], in order of depth within a row.
    void write(int threads, int64_t* indptr, int64_t* gaussians, int32_t* column, float* weight) const;

    WeightPage* new_page();

private:
    template <class Visit>
    void visit_tile(int tile, Visit&& visit) const;
    int64_t row_of_pixel(int tile, uint32_t pixel) const;
    void count_rows(int threads);
    void number_columns(const uint8_t* touched, int threads);

    const View* view_;
    const int32_t* row_of_;
    int64_t rows_, num_columns_ = 0;
    std::vector<Buffer<WeightPage>> pages_;
    std::vector<TileEntries> tiles_;
    std::vector<int64_t> indptr_;
    Buffer<int32_t> column_of_;  // [visible] by rank, -1: not seen
};

#define PGS_DECLARE(isa)                                    \
    namespace isa {                                         \
    void collect_weights(const WeightArguments& arguments); \
    }
PGS_FOR_EACH_ISA(PGS_DECLARE)
#undef PGS_DECLARE

}  // namespace panoptic_gs
