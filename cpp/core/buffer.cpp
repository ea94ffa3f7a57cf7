// SPDX-License-Identifier: Apache-2.0
#include "core/buffer.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace panoptic_gs {

namespace {

constexpr size_t kLine = 64, kPage = 4096, kHugePage = size_t{2} << 20;
constexpr size_t kKeptBytes = size_t{512} << 20;

struct Chunk {
    void* memory;
    size_t capacity;
};

struct Recycler {
    std::mutex mutex;
    std::vector<Chunk> free;
    size_t bytes = 0;
};

#if defined(_WIN32)
void* allocate(size_t alignment, size_t bytes) { return _aligned_malloc(bytes, alignment); }
void deallocate(void* memory) { _aligned_free(memory); }
#else
void* allocate(size_t alignment, size_t bytes) { return std::aligned_alloc(alignment, bytes); }
void deallocate(void* memory) { std::free(memory); }
#endif

Recycler& recycler() {
    static Recycler* const all = new Recycler;  // buffers may outlive static destruction
    return *all;
}

}  // namespace

void* acquire_memory(size_t bytes, bool tight, size_t* capacity) {
    if (bytes == 0) bytes = 1;
    Recycler& all = recycler();
    {
        std::lock_guard<std::mutex> lock(all.mutex);
        size_t best = all.free.size();
        for (size_t i = 0; i < all.free.size(); ++i) {
            const size_t offered = all.free[i].capacity;
            if (offered < bytes || (tight ? offered - bytes > bytes / 16 + kLine : offered / 4 > bytes + 65536))
                continue;
            if (best == all.free.size() || offered < all.free[best].capacity) best = i;
        }
        if (best < all.free.size()) {
            const Chunk chunk = all.free[best];
            all.free[best] = all.free.back();
            all.free.pop_back();
            all.bytes -= chunk.capacity;
            *capacity = chunk.capacity;
            return chunk.memory;
        }
    }
    const size_t wanted = tight ? bytes : bytes + bytes / 8;  // room for a slightly larger next frame
    const size_t page = wanted >= 2 * kHugePage ? kHugePage : tight ? kLine : kPage;
    const size_t rounded = (wanted + page - 1) / page * page;
    void* memory = allocate(page == kHugePage ? page : kLine, rounded);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (page == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);  // a frame's data is read in any order
#endif
    *capacity = rounded;
    return memory;
}

void release_memory(void* memory, size_t capacity) {
    Recycler& all = recycler();
    std::vector<Chunk> surplus;
    {
        std::lock_guard<std::mutex> lock(all.mutex);
        all.free.push_back({memory, capacity});
        all.bytes += capacity;
        size_t drop = 0;
        while (all.bytes > kKeptBytes && drop < all.free.size()) {  // oldest first
            all.bytes -= all.free[drop].capacity;
            surplus.push_back(all.free[drop++]);
        }
        all.free.erase(all.free.begin(), all.free.begin() + static_cast<std::ptrdiff_t>(drop));
    }
    for (const Chunk& chunk : surplus) deallocate(chunk.memory);
}

void give_back_memory() {
    Recycler& all = recycler();
    std::vector<Chunk> surplus;
    {
        std::lock_guard<std::mutex> lock(all.mutex);
        surplus.swap(all.free);
        all.bytes = 0;
    }
    for (const Chunk& chunk : surplus) deallocate(chunk.memory);
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

}  // namespace panoptic_gs
