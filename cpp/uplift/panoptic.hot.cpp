// SPDX-License-Identifier: Apache-2.0
// Renders label rows: the labels of a tile's Gaussians are numbered as they appear, each gets a plane of sums, and the
// planes are compared when the tile is done.
#include <cstring>

#include "core/thread_pool.h"
#include "core/traverse.h"
#include "uplift/traversals.h"

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr int kPlane = kBlocks * kBlockPixels;

// The labels met in a tile, and their planes. Kept by a worker from tile to tile.
struct Planes {
    Buffer<float> sums;        // [capacity, kPlane]
    Buffer<int32_t> labels;    // [capacity]
    Buffer<uint32_t> table;    // [places] number + 1 of the label there, 0 = none; places = 2 * capacity, a power of two
    int count = 0, capacity = 0, shift = 0;
};

inline __attribute__((always_inline)) uint32_t place_of(int32_t label, int shift) {
    return (static_cast<uint32_t>(label) * 2654435769u) >> shift;
}

inline __attribute__((always_inline)) void enlarge(Planes& planes, int bits) {
    const int capacity = 1 << bits;
    Buffer<float> sums(static_cast<size_t>(capacity) * kPlane);
    Buffer<int32_t> labels(static_cast<size_t>(capacity));
    Buffer<uint32_t> table(static_cast<size_t>(capacity) * 2);
    planes.capacity = capacity;
    planes.shift = 32 - (bits + 1);
    std::memset(table.data(), 0, table.size() * sizeof(uint32_t));
    if (planes.count > 0) {
        std::memcpy(sums.data(), planes.sums.data(), static_cast<size_t>(planes.count) * kPlane * sizeof(float));
        std::memcpy(labels.data(), planes.labels.data(), static_cast<size_t>(planes.count) * sizeof(int32_t));
    }
    for (int i = 0; i < planes.count; ++i) {
        uint32_t at = place_of(labels[i], planes.shift);
        while (table[at] != 0) at = (at + 1) & (2 * capacity - 1);
        table[at] = static_cast<uint32_t>(i) + 1;
    }
    planes.sums = static_cast<Buffer<float>&&>(sums);
    planes.labels = static_cast<Buffer<int32_t>&&>(labels);
    planes.table = static_cast<Buffer<uint32_t>&&>(table);
}

inline __attribute__((always_inline)) void clear(Planes& planes) {
    for (int i = 0; i < planes.count; ++i) {
        uint32_t at = place_of(planes.labels[i], planes.shift);
        while (planes.table[at] != 0) {  // the whole run goes, so no label of it is left unreachable
            planes.table[at] = 0;
            at = (at + 1) & (2 * planes.capacity - 1);
        }
    }
    planes.count = 0;
}

inline __attribute__((always_inline)) int plane_of(Planes& planes, int32_t label) {
    const uint32_t last_place = 2 * static_cast<uint32_t>(planes.capacity) - 1;
    uint32_t at = place_of(label, planes.shift);
    while (planes.table[at] != 0) {
        const auto number = static_cast<int>(planes.table[at]) - 1;
        if (planes.labels[number] == label) return number;
        at = (at + 1) & last_place;
    }
    if (planes.count == planes.capacity) {
        enlarge(planes, 33 - planes.shift);
        at = place_of(label, planes.shift);
        while (planes.table[at] != 0) at = (at + 1) & (2 * planes.capacity - 1);
    }
    const int number = planes.count++;
    planes.table[at] = static_cast<uint32_t>(number) + 1;
    planes.labels[number] = label;
    std::memset(planes.sums.data() + static_cast<size_t>(number) * kPlane, 0, kPlane * sizeof(float));
    return number;
}

struct PanopticVisitor {
    static constexpr bool kSkipEmpty = true;
    const PanopticArguments& arguments;
    Planes& planes;
    int block_offset;

    inline __attribute__((always_inline)) void begin_block(int block) { block_offset = block * kBlockPixels; }

    inline __attribute__((always_inline)) void blend(const Batch& batch, int slot, uint32_t,
                                                     const Float (&weight)[kVectors], const Mask (&)[kVectors]) {
        const uint32_t gaussian = arguments.view.footprints[batch.rank[slot]].id;
        const int64_t last = arguments.indptr[gaussian + 1];
        for (int64_t entry = arguments.indptr[gaussian]; entry < last; ++entry) {
            const int number = plane_of(planes, arguments.label[entry]);
            const Float share = splat(arguments.weight[entry]);
            float* sums = planes.sums.data() + static_cast<size_t>(number) * kPlane + block_offset;
            for (int i = 0; i < kVectors; ++i)
                store(sums + i * kLanes, fma(weight[i], share, load(sums + i * kLanes)));
        }
    }

    inline __attribute__((always_inline)) void end_block(int) {}
};

inline __attribute__((always_inline)) void write_tile(const PanopticArguments& arguments, const Planes& planes,
                                                      const BlockState& state, int tile) {
    const View& view = arguments.view;
    for (int block = 0; block < kBlocks; ++block) {
        float share[kBlockPixels], opaque[kBlockPixels];
        int32_t label[kBlockPixels];
        for (int i = 0; i < kVectors; ++i) {
            Float best = splat(0.0f);
            Int best_label = splat_int(0);
            for (int number = 0; number < planes.count; ++number) {
                const Float value = load(planes.sums.data() + static_cast<size_t>(number) * kPlane +
                                         block * kBlockPixels + i * kLanes);
                const Int candidate = splat_int(planes.labels[number]);
                const Mask above = and_not(greater_equal(value, best), less_equal(value, best));
                const Mask equal = greater_equal(value, best) & less_equal(value, best);
                const Mask better = above | and_not(equal, less_equal(best_label, candidate));
                best = select(better, value, best);
                best_label = select(better, candidate, best_label);
            }
            const Float accumulated = splat(1.0f) - state.transmittance[block][i];
            store(share + i * kLanes, min(best / max(accumulated, splat(1e-12f)), splat(1.0f)));
            store(opaque + i * kLanes, accumulated);
            store(label + i * kLanes, best_label);
        }
        const int x0 = tile % view.tiles_x * kTile + block % kBlocksPerSide * kBlock;
        const int y0 = tile / view.tiles_x * kTile + block / kBlocksPerSide * kBlock;
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
        enlarge(planes[i], 5);
    }
    parallel_for(view.tiles(), arguments.threads, [&](int64_t tile, int worker) {
        PanopticVisitor visitor{arguments, planes[static_cast<size_t>(worker)], 0};
        BlockState state;
        traverse_tile(view, static_cast<int>(tile), state, visitor);
        write_tile(arguments, visitor.planes, state, static_cast<int>(tile));
        clear(visitor.planes);
    });
    for (size_t i = 0; i < planes.size(); ++i) planes[i].~Planes();
}

}  // namespace panoptic_gs::PGS_ISA
