// SPDX-License-Identifier: Apache-2.0
// Adds the votes of a view to the rows of consecutive Gaussians: the votes of a Gaussian's tiles are rounded to
// integers and added to the pairs of their labels. Rows are sorted only when they are read out. vote_store.h draws the
// whole way.
#include <cstring>

#include "core/simd.h"
#include "uplift/open_row.h"
#include "uplift/traversals.h"

#if defined(__AVX512F__)
#include "uplift/row_avx512.h"
#else
#include "uplift/row_scalar.h"
#endif

namespace panoptic_gs::PGS_ISA {

namespace {

constexpr uint32_t kMostRanked = 128;  // pairs that are sorted by counting the smaller labels of each

// Chains the runs of each Gaussian of a chunk. False if there are none.
PGS_INLINE bool chain_runs(const ViewVotes& votes, int64_t chunk, int64_t begin, int64_t end, RowBuilder& b) {
    int64_t runs = 0;
    for (int i = 0; i < votes.threads; ++i) runs += votes.writers[i].streams[chunk].runs;
    if (runs == 0) return false;
    b.reserve_runs(end - begin, runs);
    uint32_t count = 0, all_bits = 0;
    for (int i = 0; i < votes.threads; ++i) {
        const VoteStream& stream = votes.writers[i].streams[chunk];
        for (const VotePage* page = stream.page; page != nullptr; page = page->previous) {
            const uint32_t used = stream.used(page);
            for (uint32_t at = 0; at != used;) {
                RowBuilder::Runs& own = b.runs.of_gaussian[page->weights[at]];
                const uint16_t bits = page->labels[at];
                const RowBuilder::Run run{page, static_cast<uint16_t>(at + 1), bits, own.first};
                b.runs.all[count] = run;
                own = {count++, own.votes + num_votes(run)};
                all_bits |= bits;
                at += 1 + num_votes(run);
            }
        }
    }
    b.runs.wide = (all_bits & VotePage::kWide) != 0;
    return true;
}

// Adds the votes of this run and the ones that follow, through a table.
PGS_INLINE void tabulate_runs(NextVote next, int64_t most, RowBuilder& b, OpenRow& row) {
    uint32_t bits = 8;
    while (int64_t{1} << bits < 2 * most) ++bits;
    const uint32_t last_place = (1u << bits) - 1, shift = 32 - bits;
    uint32_t found = 0;
    // The index of a label, `found` if it is new; b.table.place has its place then.
    const auto index_of = [&](uint32_t own) __attribute__((always_inline)) {
        uint32_t at = (own * 2654435769u) >> shift, index = b.table.index[at];
        while (__builtin_expect((index < found) & (b.table.place[index] == at) & (b.row.label[index] != own), 0)) {
            at = (at + 1) & last_place;
            index = b.table.index[at];
        }
        const bool known = (index < found) & (b.table.place[index] == at);
        index = known ? index : found;
        b.table.index[at] = index;
        b.table.place[index] = at;
        return index;
    };
    for (; found < row.count; ++found) index_of(b.row.label[found]);
    for (; next.run != RowBuilder::kNoRun; next = {b.runs.all[next.run].next, 0}) {
        const RowBuilder::Run& run = b.runs.all[next.run];
        for (uint32_t i = next.vote; i < num_votes(run); ++i) {
            const uint32_t label = label_of(run, i), index = index_of(label);
            const uint64_t before = index < found ? b.row.sum[index] : 0;
            row.put(b, index, label, before + units_of(run, i));
            found = row.count;
        }
    }
}

// Adds the votes of `own` to a row and writes it.
PGS_INLINE void add_votes(const PackedRow& held, const RowBuilder::Runs& own, RowBuilder& b, OpenRow& row) {
    const int64_t most = static_cast<int64_t>(own.votes) + held.count;
    if (most > b.row.capacity) b.reserve_pairs(most);
    row.count = held.count;
    const NextVote next = add_while_in_vectors(held, own, b, row);
    if (next.run == RowBuilder::kNoRun) return;
    tabulate_runs(next, most, b, row);
    end_row(b, b.row.label, row);
}

PGS_INLINE void copy_rows(RowBuilder& b, const uint8_t* from, const uint8_t* to) {
    if (from == to) return;
    b.reserve_bytes(to - from + kRowSlack);
    if (to - from <= kRowSlack)  // mostly a few empty rows
        std::memcpy(b.rows.bytes + b.rows.used, from, kRowSlack);
    else
        std::memcpy(b.rows.bytes + b.rows.used, from, static_cast<size_t>(to - from));
    b.rows.used += to - from;
}

// Writes the pairs of b.row.label and b.row.sum by ascending label.
PGS_INLINE void sort_pairs(RowBuilder& b, uint32_t count, uint32_t* sorted_label, uint64_t* sorted_sum) {
    if (count > kMostRanked) {
        b.sort_pairs(count, sorted_label, sorted_sum);
        return;
    }
    const auto* label = reinterpret_cast<const int32_t*>(b.row.label);
    for (uint32_t first = 0; first < count; first += kLanes) {
        const Int below = load(label + first) - 1;
        Int rank = splat_int(0);
        for (uint32_t i = 0; i < count; ++i) rank = select(less_equal(splat_int(label[i]), below), rank + 1, rank);
        int32_t to[kLanes];
        store(to, rank);
        const uint32_t lanes = count - first < kLanes ? count - first : kLanes;
        for (uint32_t lane = 0; lane < lanes; ++lane) {
            sorted_label[to[lane]] = b.row.label[first + lane];
            sorted_sum[to[lane]] = b.row.sum[first + lane];
        }
    }
}

}  // namespace

bool merge_votes(const ViewVotes& votes, int64_t chunk, const uint8_t* rows, int64_t begin, int64_t end,
                 RowBuilder& b) {
    b.rows.used = 0;
    if (!chain_runs(votes, chunk, begin, end, b)) return false;
    const uint8_t* unchanged = rows;  // up to the row at hand
    for (int64_t n = begin; n < end; ++n) {
        const PackedRow held = read_row(rows);
        const RowBuilder::Runs own = b.runs.of_gaussian[n - begin];
        if (own.first == RowBuilder::kNoRun) {
            rows = held.end();
            continue;
        }
        copy_rows(b, unchanged, rows);
        unchanged = rows = held.end();
        OpenRow row;
        add_votes(held, own, b, row);
        b.rows.pairs += row.count - held.count;
        b.rows.void_pairs += row.new_voids;
    }
    copy_rows(b, unchanged, rows);
    return true;
}

void sort_rows(const uint8_t* rows, int64_t gaussians, RowBuilder& b) {
    uint32_t* sorted_label = b.sorted.label;
    uint64_t* sorted_sum = b.sorted.sum;
    for (int64_t n = 0; n < gaussians; ++n) {
        const PackedRow packed = read_row(rows);
        rows = packed.end();
        if (packed.count > 1) {
            unpack_row(packed, b.row.label, b.row.sum);
            sort_pairs(b, packed.count, sorted_label, sorted_sum);
        } else {
            unpack_row(packed, sorted_label, sorted_sum);
        }
        sorted_label += packed.count;
        sorted_sum += packed.count;
    }
}

}  // namespace panoptic_gs::PGS_ISA
