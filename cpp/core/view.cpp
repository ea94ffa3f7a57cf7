// SPDX-License-Identifier: Apache-2.0
#include "core/view.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "core/project.h"
#include "core/thread_pool.h"

namespace panoptic_gs {

namespace {

struct SortItem {
    uint32_t key, index;
};

int64_t part(int64_t count, int i, int parts) { return count * i / parts; }

// Stable radix sort; the result does not depend on the number of threads.
void sort_by_key(Buffer<SortItem>& items, uint32_t greatest, int threads) {
    const int64_t count = static_cast<int64_t>(items.size());
    int bits = 1;
    while (bits < 32 && (greatest >> bits) != 0) ++bits;
    const int passes = (bits + 10) / 11, digit_bits = (bits + passes - 1) / passes;
    const uint32_t radix = 1u << digit_bits;
    const int parts = count < 16384 ? 1 : threads;
    Buffer<SortItem> other(items.size());
    std::vector<uint32_t> cursors(static_cast<size_t>(radix) * parts);
    for (int pass = 0; pass < passes; ++pass) {
        const int shift = pass * digit_bits;
        parallel_for(parts, threads, [&](int64_t i, int) {
            uint32_t* counts = cursors.data() + i * radix;
            std::memset(counts, 0, radix * sizeof(uint32_t));
            for (int64_t n = part(count, i, parts); n < part(count, i + 1, parts); ++n)
                ++counts[(items[n].key >> shift) & (radix - 1)];
        });
        uint32_t sum = 0;
        for (uint32_t digit = 0; digit < radix; ++digit)
            for (int i = 0; i < parts; ++i) {
                uint32_t& cursor = cursors[static_cast<size_t>(i) * radix + digit];
                const uint32_t here = cursor;
                cursor = sum;
                sum += here;
            }
        parallel_for(parts, threads, [&](int64_t i, int) {
            uint32_t* cursor = cursors.data() + i * radix;
            for (int64_t n = part(count, i, parts); n < part(count, i + 1, parts); ++n)
                other[cursor[(items[n].key >> shift) & (radix - 1)]++] = items[n];
        });
        std::swap(items, other);
    }
}

uint32_t bits_of(float x) {
    uint32_t b;
    std::memcpy(&b, &x, sizeof b);
    return b;
}

// Orders depths of either sign; the near plane may lie behind the camera.
uint32_t depth_key(float depth) {
    const uint32_t b = bits_of(depth);
    return (b & 0x80000000u) ? ~b : b | 0x80000000u;
}

// Footprints as one worker finds them, chunk after chunk: a view sees few of millions of Gaussians.
struct FootprintSlabs {
    static constexpr int64_t kSlab = int64_t{1} << 17;  // 4 MB, whole huge pages
    static_assert(kSlab >= kProjectionChunk && sizeof(Footprint) == 32);

    std::vector<Buffer<Footprint>> slabs;
    int64_t used = 0, room = 0;  // of the last one

    Footprint* room_of_chunk(int64_t chunks) {
        if (used + kProjectionChunk > room) {
            room = std::min(kSlab, chunks * kProjectionChunk);
            slabs.emplace_back().allocate(static_cast<size_t>(room), room == kSlab);
            used = 0;
        }
        return slabs.back().data() + used;
    }
};

// `of_chunk`: the footprints of each chunk of kProjectionChunk Gaussians.
void sort_footprints(const std::vector<const Footprint*>& of_chunk, const std::vector<int64_t>& chunk_counts,
                     int threads, View& view) {
    const int64_t chunks = static_cast<int64_t>(chunk_counts.size());
    std::vector<int64_t> offsets(chunk_counts.size() + 1, 0);
    for (int64_t c = 0; c < chunks; ++c) offsets[c + 1] = offsets[c] + chunk_counts[c];
    Buffer<SortItem> items(static_cast<size_t>(offsets[chunks]));
    std::vector<uint32_t> least(chunk_counts.size(), ~0u), greatest(chunk_counts.size(), 0);
    parallel_for(chunks, threads, [&](int64_t c, int) {
        for (int64_t i = 0; i < chunk_counts[c]; ++i) {
            const uint32_t key = depth_key(of_chunk[c][i].depth);
            items[offsets[c] + i] = {key, static_cast<uint32_t>(c * kProjectionChunk + i)};
            least[c] = std::min(least[c], key);
            greatest[c] = std::max(greatest[c], key);
        }
    });
    const int64_t visible = offsets[chunks];
    view.footprints.allocate(static_cast<size_t>(visible));
    view.rank_of.allocate(static_cast<size_t>(view.count));
    if (visible > 0) {
        const uint32_t base = *std::min_element(least.begin(), least.end());
        const uint32_t top = *std::max_element(greatest.begin(), greatest.end());
        for (int64_t i = 0; i < visible; ++i) items[i].key -= base;
        sort_by_key(items, top - base, threads);
    }
    parallel_for(chunks, threads, [&](int64_t c, int) {
        const int64_t begin = c * kProjectionChunk, end = std::min(begin + kProjectionChunk, view.count);
        std::fill(view.rank_of.data() + begin, view.rank_of.data() + end, -1);
    });
    parallel_for((visible + kProjectionChunk - 1) / kProjectionChunk, threads, [&](int64_t c, int) {
        for (int64_t i = c * kProjectionChunk; i < std::min((c + 1) * kProjectionChunk, visible); ++i) {
            const uint32_t source = items[i].index;
            view.footprints[i] = of_chunk[source / kProjectionChunk][source % kProjectionChunk];
            view.rank_of[view.footprints[i].id] = static_cast<int32_t>(i);
        }
    });
}

// A counting sort of (Gaussian, tile) pairs by tile. Gaussians come in depth order, so each tile's list does too.
void distribute(int threads, View& view) {
    const int64_t visible = view.visible();
    const int tiles = view.tiles();
    const int parts = static_cast<int>(std::min<int64_t>(4 * threads, (visible + 1023) / 1024));
    Buffer<TileRows> rows(static_cast<size_t>(visible));
    Buffer<uint32_t> row_offsets(static_cast<size_t>(visible) + 1);
    parallel_for(parts, threads, [&](int64_t p, int) {
        const int64_t begin = part(visible, static_cast<int>(p), parts),
                      end = part(visible, static_cast<int>(p) + 1, parts);
        PGS_DISPATCH(find_rows, view.footprints.data() + begin, end - begin, view.height, rows.data() + begin);
    });
    uint32_t sum = 0;
    for (int64_t i = 0; i < visible; ++i) {
        row_offsets[i] = sum;
        sum += static_cast<uint32_t>(rows[i].count);
    }
    Buffer<TileSpan> spans(sum);
    Buffer<uint32_t> cursors(static_cast<size_t>(tiles) * parts);
    view.rank_offsets.allocate(static_cast<size_t>(visible) + 1);
    parallel_for(parts, threads, [&](int64_t p, int) {
        uint32_t* counts = cursors.data() + p * tiles;
        std::memset(counts, 0, static_cast<size_t>(tiles) * sizeof(uint32_t));
        PGS_DISPATCH(find_spans, view.footprints.data(), rows.data(), row_offsets.data(),
                     part(visible, static_cast<int>(p), parts), part(visible, static_cast<int>(p) + 1, parts),
                     view.width, view.tiles_x, spans.data(), view.rank_offsets.data(), counts);
    });
    uint64_t total = 0;
    for (int64_t i = 0; i < visible; ++i) {
        const uint32_t here = view.rank_offsets[i];
        view.rank_offsets[i] = static_cast<uint32_t>(total);
        total += here;
        if (total > 0x7fffffffu) throw std::length_error("more than 2^31 pairs of Gaussians and tiles in one view");
    }
    view.rank_offsets[visible] = static_cast<uint32_t>(total);
    view.tile_offsets.allocate(static_cast<size_t>(tiles) + 1);
    uint32_t position = 0;
    for (int t = 0; t < tiles; ++t) {
        view.tile_offsets[t] = position;
        for (int p = 0; p < parts; ++p) {
            uint32_t& cursor = cursors[static_cast<size_t>(p) * tiles + t];
            const uint32_t here = cursor;
            cursor = position;
            position += here;
        }
    }
    view.tile_offsets[tiles] = position;
    view.tile_ranks.allocate(total);
    view.rank_entries.allocate(total);
    parallel_for(parts, threads, [&](int64_t p, int) {
        uint32_t* cursor = cursors.data() + p * tiles;
        for (int64_t i = part(visible, static_cast<int>(p), parts); i < part(visible, static_cast<int>(p) + 1, parts);
             ++i) {
            uint32_t entry = view.rank_offsets[i];
            for (int r = 0; r < rows[i].count; ++r) {
                const TileSpan span = spans[row_offsets[i] + r];
                uint32_t* row = cursor + static_cast<int64_t>(rows[i].first + r) * view.tiles_x;
                for (int t = span.first; t < span.last; ++t) {
                    const uint32_t slot = row[t]++;
                    view.tile_ranks[slot] = static_cast<uint32_t>(i);
                    view.rank_entries[entry++] = slot;
                }
            }
        }
    });
}

}  // namespace

ProjectionConstants projection_constants(const PinholeCamera& camera, const ProjectionOptions& options) {
    ProjectionConstants constants{camera, options, 0, 0, 0, 0};
    const float margin_x = 0.15f * static_cast<float>(camera.width) / camera.fx;
    const float margin_y = 0.15f * static_cast<float>(camera.height) / camera.fy;
    constants.x_max = (static_cast<float>(camera.width) - camera.cx) / camera.fx + margin_x;
    constants.x_min = -(camera.cx / camera.fx + margin_x);
    constants.y_max = (static_cast<float>(camera.height) - camera.cy) / camera.fy + margin_y;
    constants.y_min = -(camera.cy / camera.fy + margin_y);
    return constants;
}

void make_view(const Gaussians& gaussians, const PinholeCamera& camera, const ProjectionOptions& options, int threads,
               const ProjectionResults& results, View& view) {
    view.width = camera.width;
    view.height = camera.height;
    view.tiles_x = (camera.width + kTile - 1) / kTile;
    view.tiles_y = (camera.height + kTile - 1) / kTile;
    view.count = gaussians.count;
    view.alpha_max = options.alpha_max;
    const ProjectionConstants constants = projection_constants(camera, options);
    const int64_t chunks = (gaussians.count + kProjectionChunk - 1) / kProjectionChunk;
    std::vector<FootprintSlabs> slabs(static_cast<size_t>(threads));
    std::vector<const Footprint*> footprints(static_cast<size_t>(chunks));
    std::vector<int64_t> counts(static_cast<size_t>(chunks)), invalid(static_cast<size_t>(chunks));
    parallel_for(chunks, threads, [&](int64_t c, int worker) {
        const int64_t begin = c * kProjectionChunk;
        FootprintSlabs& own = slabs[static_cast<size_t>(worker)];
        Footprint* out = own.room_of_chunk(chunks);
        const ChunkCounts found = PGS_DISPATCH(project_chunk, gaussians, constants, results, begin,
                                               std::min(begin + kProjectionChunk, gaussians.count), out);
        own.used += found.visible;
        footprints[c] = out;
        counts[c] = found.visible;
        invalid[c] = found.invalid;
    });
    view.invalid = std::accumulate(invalid.begin(), invalid.end(), int64_t{0});
    sort_footprints(footprints, counts, threads, view);
    slabs.clear();  // before there are tiles
    distribute(threads, view);
}

}  // namespace panoptic_gs
