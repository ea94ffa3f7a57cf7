// SPDX-License-Identifier: Apache-2.0
// Renders label rows. The labels of a Gaussian are numbered once for a tile; a block has a plane of 64 sums for each
// label that it meets, and compares them when the tile is done.
#include <cstring>

#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/traversals.h"

#define PGS_MEMBER inline __attribute__((always_inline))

namespace panoptic_gs::PGS_ISA {

namespace {

// Makes room for `count` elements and keeps what is there.
template <class T>
PGS_INLINE void grow(Buffer<T>& buffer, int64_t count) {
    if (static_cast<size_t>(count) <= buffer.size()) return;
    Buffer<T> larger(static_cast<size_t>(2 * count));
    if (buffer.size() > 0) std::memcpy(larger.data(), buffer.data(), buffer.size() * sizeof(T));
    buffer = static_cast<Buffer<T>&&>(larger);
}

// The labels met in a tile and the planes of its blocks. A worker keeps the memory from tile to tile.
struct Planes {
    // Labels by number, and an open-addressed table of numbers; what does not point back at its place is stale.
    Buffer<int32_t> labels;
    Buffer<uint32_t> places, table;
    Buffer<uint32_t> of_block;  // [number, block] plane, 0 = none yet
    uint32_t num_labels = 0;
    int shift = 32;

    // Plane 0 is never used. The planes of a block form a chain.
    Buffer<float> sums;  // [plane, kBlockPixels]
    Buffer<int32_t> label_of;
    Buffer<uint32_t> next;
    uint32_t heads[kBlocks];
    uint32_t num_planes = 1;

    // Numbers of the labels of the batch's Gaussians that were blended so far.
    Buffer<uint32_t> numbers;
    int64_t num_numbers = 0;
    int64_t first_number[kBatch];  // -1 = not there yet
    int64_t first_entry[kBatch];   // of label and weight
    int64_t num_entries[kBatch];

    PGS_MEMBER void begin_tile() {
        num_labels = 0;
        num_planes = 1;
        std::memset(heads, 0, sizeof heads);
    }
    PGS_MEMBER uint32_t place_of(int32_t label) {
        const auto last_place = static_cast<uint32_t>(table.size() - 1);
        uint32_t at = (static_cast<uint32_t>(label) * 2654435769u) >> shift;
        while (table[at] < num_labels && places[table[at]] == at && labels[table[at]] != label)
            at = (at + 1) & last_place;
        return at;
    }

    PGS_MEMBER void enlarge_table(int bits) {
        table.allocate(size_t{1} << bits);
        std::memset(table.data(), 0, table.size() * sizeof(uint32_t));
        shift = 32 - bits;
        const uint32_t count = num_labels;
        for (num_labels = 0; num_labels < count; ++num_labels) {
            const uint32_t at = place_of(labels[num_labels]);
            table[at] = num_labels;
            places[num_labels] = at;
        }
    }

    PGS_MEMBER uint32_t number_of(int32_t label) {
        uint32_t at = place_of(label);
        if (table[at] < num_labels && places[table[at]] == at) return table[at];
        if (2 * (static_cast<size_t>(num_labels) + 1) > table.size()) {
            enlarge_table(33 - shift);
            at = place_of(label);
        }
        grow(labels, num_labels + 1);
        grow(places, num_labels + 1);
        grow(of_block, (int64_t{num_labels} + 1) * kBlocks);
        std::memset(of_block.data() + int64_t{num_labels} * kBlocks, 0, kBlocks * sizeof(uint32_t));
        labels[num_labels] = label;
        places[num_labels] = at;
        table[at] = num_labels;
        return num_labels++;
    }

    PGS_MEMBER uint32_t add_plane(int block, int32_t label) {
        grow(sums, (int64_t{num_planes} + 1) * kBlockPixels);
        grow(label_of, num_planes + 1);
        grow(next, num_planes + 1);
        std::memset(sums.data() + int64_t{num_planes} * kBlockPixels, 0, kBlockPixels * sizeof(float));
        label_of[num_planes] = label;
        next[num_planes] = heads[block];
        heads[block] = num_planes;
        return num_planes++;
    }
};

struct PanopticVisitor {
    static constexpr bool kSkipEmpty = kLanes < 16;  // few pairs are empty, and a mispredicted branch costs more
    const PanopticArguments& arguments;
    Planes& planes;
    int block;

    PGS_MEMBER void begin_batch(const Batch& batch) {
        planes.num_numbers = 0;
        for (int slot = 0; slot < batch.size; ++slot) {
            const uint32_t gaussian = arguments.view.footprints[batch.rank[slot]].id;
            const int64_t first = arguments.indptr[gaussian];
            __builtin_prefetch(arguments.label + first);
            __builtin_prefetch(arguments.weight + first);
            planes.first_number[slot] = -1;
            planes.first_entry[slot] = first;
            planes.num_entries[slot] = arguments.indptr[gaussian + 1] - first;
        }
    }
    PGS_MEMBER void begin_block(int number) { block = number; }
    PGS_MEMBER void end_block(int) {}

    PGS_MEMBER void blend(const Batch&, int slot, uint32_t, const Float (&weight)[kVectors], const Mask (&)[kVectors]) {
        const int64_t first = planes.first_entry[slot], count = planes.num_entries[slot];
        if (planes.first_number[slot] < 0) number_labels(slot, first, count);
        for (int64_t k = 0; k < count; ++k) {
            const uint32_t number = planes.numbers[planes.first_number[slot] + k];
            uint32_t plane = planes.of_block[int64_t{number} * kBlocks + block];
            if (__builtin_expect(plane == 0, 0)) {
                plane = planes.add_plane(block, planes.labels[number]);
                planes.of_block[int64_t{number} * kBlocks + block] = plane;
            }
            const Float share = splat(arguments.weight[first + k]);
            float* sums = planes.sums.data() + int64_t{plane} * kBlockPixels;
            for (int i = 0; i < kVectors; ++i) store(sums + i * kLanes, fma(weight[i], share, load(sums + i * kLanes)));
        }
    }

    PGS_MEMBER void number_labels(int slot, int64_t first, int64_t count) {
        grow(planes.numbers, planes.num_numbers + count);
        planes.first_number[slot] = planes.num_numbers;
        for (int64_t k = 0; k < count; ++k)
            planes.numbers[planes.num_numbers++] = planes.number_of(arguments.label[first + k]);
    }
};

PGS_INLINE void write_tile(const PanopticArguments& arguments, const Planes& planes, const BlockState& state,
                           int tile) {
    const View& view = arguments.view;
    for (int block = 0; block < kBlocks; ++block) {
        Float best[kVectors];
        Int best_label[kVectors];
        for (int i = 0; i < kVectors; ++i) best[i] = splat(0.0f), best_label[i] = splat_int(0);
        for (uint32_t plane = planes.heads[block]; plane != 0; plane = planes.next[plane]) {
            const Int candidate = splat_int(planes.label_of[plane]);
            for (int i = 0; i < kVectors; ++i) {
                const Float value = load(planes.sums.data() + int64_t{plane} * kBlockPixels + i * kLanes);
                const Mask reaches = greater_equal(value, best[i]);
                const Mask ties = less_equal(reaches, value, best[i]);
                const Mask better = and_not(reaches, ties) | and_not(ties, less_equal(best_label[i], candidate));
                best[i] = select(better, value, best[i]);
                best_label[i] = select(better, candidate, best_label[i]);
            }
        }
        float share[kBlockPixels], opaque[kBlockPixels];
        int32_t label[kBlockPixels];
        for (int i = 0; i < kVectors; ++i) {
            const Float accumulated = splat(1.0f) - state.transmittance[block][i];
            store(share + i * kLanes, min(best[i] / max(accumulated, splat(1e-12f)), splat(1.0f)));
            store(opaque + i * kLanes, accumulated);
            store(label + i * kLanes, best_label[i]);
        }
        const auto [x0, y0] = first_pixel(view, tile, block);
        for (int k = 0; k < kBlockPixels; ++k) {
            const int x = x0 + k % kBlock, y = y0 + k / kBlock;
            if (x >= view.width || y >= view.height) continue;
            const int64_t pixel = static_cast<int64_t>(y) * view.width + x;
            arguments.ids[pixel] = label[k];
            arguments.confidence[pixel] = share[k];
            arguments.accumulation[pixel] = opaque[k];
        }
    }
}

}  // namespace

void render_panoptic(const PanopticArguments& arguments) {
    const View& view = arguments.view;
    Buffer<Planes> planes(static_cast<size_t>(arguments.threads));
    for (size_t i = 0; i < planes.size(); ++i) {
        new (&planes[i]) Planes();
        planes[i].enlarge_table(8);
    }
    parallel_for(view.tiles(), arguments.threads, [&](int64_t tile, int worker) {
        PanopticVisitor visitor{arguments, planes[static_cast<size_t>(worker)], 0};
        visitor.planes.begin_tile();
        BlockState state;
        traverse_tile(view, static_cast<int>(tile), state, visitor);
        write_tile(arguments, visitor.planes, state, static_cast<int>(tile));
    });
    for (size_t i = 0; i < planes.size(); ++i) planes[i].~Planes();
}

}  // namespace panoptic_gs::PGS_ISA
