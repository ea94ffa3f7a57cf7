// SPDX-License-Identifier: Apache-2.0
#include "uplift/vote_store.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/thread_pool.h"

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

int64_t VoteStore::num_pairs() const {
    size_t pairs = 0;
    for (const auto& shard : shards_) pairs += shard->used;
    return static_cast<int64_t>(pairs);
}

size_t VoteStore::bytes() const {
    size_t bytes = 0;
    for (const auto& shard : shards_) bytes += shard->slots.size() * sizeof(Slot) + sizeof(Shard);
    return bytes;
}

VoteStore::Slot& VoteStore::find(Buffer<Slot>& slots, uint64_t key) {
    size_t at = home_slot(key, slots.size());
    while (slots[at].key != key && slots[at].key != kEmpty) {
        if (++at == slots.size()) at = 0;
    }
    return slots[at];
}

void VoteStore::grow(Shard& shard, size_t capacity) {
    Buffer<Slot> larger(capacity);
    for (size_t i = 0; i < capacity; ++i) larger[i] = {kEmpty, 0};
    // Home slots ascend with the hash, so both tables are walked from front to back.
    for (size_t i = 0; i < shard.slots.size(); ++i) {
        if (shard.slots[i].key != kEmpty) find(larger, shard.slots[i].key) = shard.slots[i];
    }
    shard.slots = std::move(larger);
}

void VoteStore::add(size_t index, const VoteEntry* entries, size_t count) {
    if (count == 0) return;
    Shard& shard = *shards_[index];
    const uint64_t begin = static_cast<uint64_t>(shard_begin(index));
    const std::lock_guard<std::mutex> lock(shard.mutex);
    if ((shard.used + count) * 3 > shard.slots.size() * 2) {
        const size_t gaussians = static_cast<size_t>(shard_end(index) - shard_begin(index));
        grow(shard, std::max({gaussians, shard.slots.size() * 3 / 2, (shard.used + count) * 3 / 2 + 1}));
    }
    for (size_t i = 0; i < count; ++i) {
        const uint64_t key = (entries[i].gaussian - begin) << 32 | entries[i].label;
        Slot& slot = find(shard.slots, key);
        if (slot.key == kEmpty) {
            slot.key = key;
            ++shard.used;
        }
        uint64_t sum = 0;
        if (__builtin_add_overflow(slot.sum, entries[i].sum, &sum) || sum > static_cast<uint64_t>(INT64_MAX)) {
            throw std::overflow_error("the votes of a Gaussian for one label exceed 2^29 pixels of full weight");
        }
        slot.sum = sum;
    }
}

// Calls visit(gaussian, first, last) for each Gaussian of a shard in order, with its slots sorted by label.
template <class Visit>
void VoteStore::visit_rows(size_t index, Visit&& visit) const {
    const auto rows = static_cast<size_t>(shard_end(index) - shard_begin(index));
    const Shard& shard = *shards_[index];
    const size_t capacity = shard.slots.size();
    // A counting sort. Empty slots form a last row of their own: a branch on them would be mispredicted half the time.
    const auto row_of = [rows](const Slot& slot) { return std::min<size_t>(slot.key >> 32, rows); };
    std::vector<uint32_t> ends(rows + 2, 0);
    for (size_t i = 0; i < capacity; ++i) ++ends[row_of(shard.slots[i]) + 1];
    for (size_t row = 0; row <= rows; ++row) ends[row + 1] += ends[row];
    Buffer<Slot> sorted(capacity + 1);
    for (size_t i = 0; i < capacity; ++i) sorted[ends[row_of(shard.slots[i])]++] = shard.slots[i];
    const auto by_label = [](const Slot& a, const Slot& b) { return a.key < b.key; };
    Slot* first = sorted.data();
    for (size_t row = 0; row < rows; ++row) {
        Slot* last = sorted.data() + ends[row];
        if (last - first > 32) {
            std::sort(first, last, by_label);
        } else {
            for (Slot* unsorted = first; unsorted < last; ++unsorted) {
                const Slot slot = *unsorted;
                Slot* at = unsorted;
                for (; at > first && slot.key < at[-1].key; --at) *at = at[-1];
                *at = slot;
            }
        }
        visit(shard_begin(index) + static_cast<int64_t>(row), first, last);
        first = last;
    }
}

void VoteStore::write_indptr(bool void_too, int threads, int64_t* indptr) const {
    indptr[0] = 0;
    parallel_for(static_cast<int64_t>(num_shards()), threads, [&](int64_t index, int) {
        const auto shard = static_cast<size_t>(index);
        const Buffer<Slot>& slots = shards_[shard]->slots;
        const int64_t rows = shard_end(shard) - shard_begin(shard);
        std::vector<int64_t> counts(static_cast<size_t>(rows) + 1, 0);
        for (size_t i = 0; i < slots.size(); ++i) {
            const auto row = std::min<uint64_t>(slots[i].key >> 32, static_cast<uint64_t>(rows));
            counts[row] += void_too || (slots[i].key & kLabelBits) != 0;
        }
        std::copy(counts.begin(), counts.end() - 1, indptr + shard_begin(shard) + 1);
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
