// SPDX-License-Identifier: Apache-2.0
#include "uplift/vote_store.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/thread_pool.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace panoptic_gs {

namespace {

constexpr size_t kMaxShards = 128;
constexpr int kMinShift = 9;
constexpr uint64_t kLabelBits = 0xFFFFFFFFu;

size_t home_slot(uint64_t key, size_t capacity) {
    const uint64_t mixed = (key ^ (key >> 29)) * 0x9E3779B97F4A7C15ull;
    return static_cast<size_t>((static_cast<unsigned __int128>(mixed) * capacity) >> 64);
}

}  // namespace

VoteStore::VoteStore(int64_t num_gaussians) : num_gaussians_(num_gaussians), shift_(kMinShift) {
    if (num_gaussians < 0 || num_gaussians > INT32_MAX) throw std::invalid_argument("number of Gaussians out of range");
    const auto count = static_cast<size_t>(num_gaussians);
    while ((count >> shift_) >= kMaxShards) ++shift_;
    const size_t shards = (count + (size_t{1} << shift_) - 1) >> shift_;
    for (size_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<Shard>());
}

int64_t VoteStore::shard_end(size_t shard) const {
    return std::min(num_gaussians_, static_cast<int64_t>(shard + 1) << shift_);
}

size_t VoteStore::bytes() const {
    size_t bytes = 0;
    for (const auto& shard : shards_)
        bytes += shard->rows.size() * sizeof(Row) + shard->more.size() * sizeof(Slot) + sizeof(Shard);
    return bytes;
}

// The sum of a label in its Gaussian's row, claimed if there is room, else nullptr.
uint64_t* VoteStore::sum_of(Row& row, uint32_t label) {
#if defined(__SSE2__)
    const __m128i labels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row.label));
    const auto places = [&](uint32_t wanted) {
        const __m128i equal = _mm_cmpeq_epi32(labels, _mm_set1_epi32(static_cast<int>(wanted)));
        return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(equal)));
    };
#else
    const auto places = [&](uint32_t wanted) {
        unsigned bits = 0;
        for (unsigned i = 0; i < kInRow; ++i) bits |= static_cast<unsigned>(row.label[i] == wanted) << i;
        return bits;
    };
#endif
    if (const unsigned held = places(label); held != 0) return row.sum + __builtin_ctz(held);
    const unsigned free = places(kFree);
    if (free == 0) return nullptr;
    const int at = __builtin_ctz(free);
    row.label[at] = label;
    row.sum[at] = 0;
    return row.sum + at;
}

VoteStore::Slot& VoteStore::find(Buffer<Slot>& slots, uint64_t key) {
    size_t at = home_slot(key, slots.size());
    while (slots[at].key != key && slots[at].key != kEmpty) {
        if (++at == slots.size()) at = 0;
    }
    return slots[at];
}

void VoteStore::grow(Shard& shard) {
    Buffer<Slot> larger(std::max({size_t{64}, shard.rows.size() / 2, shard.more.size() * 3 / 2}));
    for (size_t i = 0; i < larger.size(); ++i) larger[i] = {kEmpty, 0};
    // Home slots ascend with the hash, so both tables are walked from front to back.
    for (size_t i = 0; i < shard.more.size(); ++i) {
        if (shard.more[i].key != kEmpty) find(larger, shard.more[i].key) = shard.more[i];
    }
    shard.more = std::move(larger);
}

uint64_t* VoteStore::sum_of(Shard& shard, uint64_t key) {
    if (shard.more.size() == 0) grow(shard);
    Slot* slot = &find(shard.more, key);
    if (slot->key == kEmpty) {
        if ((shard.used + 1) * 3 > shard.more.size() * 2) {
            grow(shard);
            slot = &find(shard.more, key);
        }
        *slot = {key, 0};
        ++shard.used;
    }
    return &slot->sum;
}

void VoteStore::add(size_t index, const VoteEntry* entries, size_t count) {
    if (count == 0) return;
    Shard& shard = *shards_[index];
    const auto begin = static_cast<uint64_t>(shard_begin(index));
    const std::lock_guard<std::mutex> lock(shard.mutex);
    if (shard.rows.size() == 0) {
        shard.rows.allocate(static_cast<size_t>(shard_end(index) - shard_begin(index)));
        for (size_t i = 0; i < shard.rows.size(); ++i) std::fill_n(shard.rows[i].label, kInRow, kFree);
    }
    for (size_t i = 0; i < count; ++i) {
        const uint64_t row = entries[i].gaussian - begin;
        uint64_t* sum = sum_of(shard.rows[row], entries[i].label);
        if (sum == nullptr) sum = sum_of(shard, row << 32 | entries[i].label);
        uint64_t larger = 0;
        if (__builtin_add_overflow(*sum, entries[i].sum, &larger) || larger > static_cast<uint64_t>(INT64_MAX)) {
            throw std::overflow_error("the votes of a Gaussian for one label exceed 2^29 pixels of full weight");
        }
        *sum = larger;
    }
}

// Calls visit(gaussian, first, last) for each Gaussian of a shard in order, with its pairs as slots sorted by label.
template <class Visit>
void VoteStore::visit_rows(size_t index, Visit&& visit) const {
    const Shard& shard = *shards_[index];
    const auto rows = static_cast<size_t>(shard_end(index) - shard_begin(index));
    // A counting sort of the table by Gaussian. Empty slots form a last row of their own: a branch on them would be
    // mispredicted half the time. Filling moves the start of row r, kept at ends[r], to its end.
    const auto row_of = [rows](const Slot& slot) { return std::min<size_t>(slot.key >> 32, rows); };
    std::vector<uint32_t> ends(rows + 2, 0);
    for (size_t i = 0; i < shard.more.size(); ++i) ++ends[row_of(shard.more[i]) + 1];
    for (size_t row = 0; row <= rows; ++row) ends[row + 1] += ends[row];
    Buffer<Slot> sorted(shard.more.size() + 1);
    for (size_t i = 0; i < shard.more.size(); ++i) sorted[ends[row_of(shard.more[i])]++] = shard.more[i];

    std::vector<Slot> pairs;
    const Slot* more = sorted.data();
    for (size_t row = 0; row < rows; ++row) {
        pairs.clear();
        const auto insert = [&](const Slot& slot) {  // rows are short; long ones are sorted below
            size_t at = pairs.size();
            pairs.push_back(slot);
            for (; at > 0 && at < 32 && slot.key < pairs[at - 1].key; --at) pairs[at] = pairs[at - 1];
            pairs[at] = slot;
        };
        if (shard.rows.size() != 0) {
            const Row& held = shard.rows[row];
            for (int i = 0; i < kInRow && held.label[i] != kFree; ++i) insert({row << 32 | held.label[i], held.sum[i]});
        }
        for (; more < sorted.data() + ends[row]; ++more) insert(*more);
        if (pairs.size() > 32)
            std::sort(pairs.begin(), pairs.end(), [](const Slot& a, const Slot& b) { return a.key < b.key; });
        visit(shard_begin(index) + static_cast<int64_t>(row), pairs.data(), pairs.data() + pairs.size());
    }
}

void VoteStore::write_indptr(bool void_too, int threads, int64_t* indptr) const {
    indptr[0] = 0;
    parallel_for(static_cast<int64_t>(num_shards()), threads, [&](int64_t index, int) {
        const auto number = static_cast<size_t>(index);
        const Shard& shard = *shards_[number];
        const auto rows = static_cast<size_t>(shard_end(number) - shard_begin(number));
        std::vector<int64_t> counts(rows + 1, 0);
        for (size_t row = 0; row < shard.rows.size(); ++row) {
            for (const uint32_t label : shard.rows[row].label) counts[row] += label != kFree && (void_too || label != 0);
        }
        for (size_t i = 0; i < shard.more.size(); ++i)
            counts[std::min<size_t>(shard.more[i].key >> 32, rows)] += void_too || (shard.more[i].key & kLabelBits) != 0;
        std::copy(counts.begin(), counts.end() - 1, indptr + shard_begin(number) + 1);
    });
    for (int64_t g = 0; g < num_gaussians_; ++g) indptr[g + 1] += indptr[g];
}

void VoteStore::write_sums(const int64_t* indptr, int threads, int32_t* label, int64_t* sum) const {
    parallel_for(static_cast<int64_t>(num_shards()), threads, [&](int64_t shard, int) {
        visit_rows(static_cast<size_t>(shard), [&](int64_t gaussian, const Slot* slot, const Slot* last) {
            for (int64_t at = indptr[gaussian]; slot != last; ++slot, ++at) {
                label[at] = static_cast<int32_t>(slot->key & kLabelBits);
                sum[at] = static_cast<int64_t>(slot->sum);
            }
        });
    });
}

void VoteStore::write_shares(const int64_t* indptr, bool void_too, int threads, int32_t* label, float* weight,
                             float* total, float* void_weight) const {
    parallel_for(static_cast<int64_t>(num_shards()), threads, [&](int64_t shard, int) {
        visit_rows(static_cast<size_t>(shard), [&](int64_t gaussian, const Slot* slot, const Slot* last) {
            double all = 0.0;
            for (const Slot* s = slot; s != last; ++s) all += static_cast<double>(s->sum);
            const bool has_void = slot != last && (slot->key & kLabelBits) == 0;
            const double of_void = has_void ? static_cast<double>(slot->sum) : 0.0;
            total[gaussian] = static_cast<float>(all * kVoteQuantum);
            void_weight[gaussian] = static_cast<float>(of_void * kVoteQuantum);
            if (has_void && !void_too) ++slot;
            const double normaliser = void_too ? all : all - of_void;
            for (int64_t at = indptr[gaussian]; slot != last; ++slot, ++at) {
                label[at] = static_cast<int32_t>(slot->key & kLabelBits);
                weight[at] = static_cast<float>(static_cast<double>(slot->sum) / normaliser);
            }
        });
    });
}

VoteWriter::VoteWriter(VoteStore& store)
    : store_(store),
      shift_(store.shift()),
      batches_(new VoteEntry[store.num_shards() * kBatch]),
      waiting_(new uint32_t[store.num_shards()]()),
      entries_(batches_.get()),
      counts_(waiting_.get()) {}

void VoteWriter::flush(uint32_t shard) {
    const uint32_t count = counts_[shard];
    counts_[shard] = 0;
    store_.add(shard, entries_ + size_t{shard} * kBatch, count);
}

void VoteWriter::flush() {
    for (uint32_t shard = 0; shard < store_.num_shards(); ++shard) flush(shard);
}

}  // namespace panoptic_gs
