// SPDX-License-Identifier: Apache-2.0
#include "core/pages.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace panoptic_gs {

namespace {

constexpr size_t kStep = size_t{16} << 10;     // mapped sizes are multiples of it
constexpr size_t kMapped = size_t{256} << 10;  // smaller ones are not worth a call into the system

}  // namespace

PagedBytes::PagedBytes(PagedBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)),
      mapped_(std::exchange(other.mapped_, false)) {}

void PagedBytes::release() {
#if defined(__linux__)
    if (mapped_) munmap(data_, capacity_);
#endif
    if (!mapped_) std::free(data_);
    data_ = nullptr;
    size_ = capacity_ = 0;
    mapped_ = false;
}

void PagedBytes::resize(size_t size) {
#if defined(__linux__)
    if (size >= kMapped) {
        const size_t wanted = (size + kStep - 1) / kStep * kStep;
        if (wanted != capacity_ || !mapped_) {
            void* pages = mapped_ ? mremap(data_, capacity_, wanted, MREMAP_MAYMOVE)
                                  : mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (pages == MAP_FAILED) throw std::bad_alloc();
            if (!mapped_) {
                if (size_ > 0) std::memcpy(pages, data_, size_);
                std::free(data_);
            }
            data_ = static_cast<uint8_t*>(pages);
            capacity_ = wanted;
            mapped_ = true;
        }
        size_ = size;
        return;
    }
#endif
    if (mapped_) {
        auto* small = static_cast<uint8_t*>(std::malloc(std::max<size_t>(size, 1)));
        if (small == nullptr) throw std::bad_alloc();
        std::memcpy(small, data_, std::min(size, size_));
        release();
        data_ = small;
        capacity_ = size;
    } else if (size > capacity_ || size < capacity_ - capacity_ / 8) {
        void* resized = std::realloc(data_, std::max<size_t>(size, 1));
        if (resized == nullptr) throw std::bad_alloc();
        data_ = static_cast<uint8_t*>(resized);
        capacity_ = size;
    }
    size_ = size;
}

}  // namespace panoptic_gs
