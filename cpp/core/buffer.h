// SPDX-License-Identifier: Apache-2.0
//
// Uninitialised, 64-byte aligned arrays whose memory is recycled between calls. A frame needs tens of megabytes for a
// few milliseconds; fresh pages from the kernel would cost as much as the rendering.
#pragma once

#include <cstddef>
#include <cstdint>

namespace panoptic_gs {

// `tight`: hardly more than asked for, for what is kept. Throws std::bad_alloc.
void* acquire_memory(size_t bytes, bool tight, size_t* capacity);
void release_memory(void* memory, size_t capacity);
// Gives the memory that no buffer has back to the system, and where the C library lets one ask, what it keeps likewise.
void give_back_memory();

template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(size_t size) { allocate(size); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    __attribute__((always_inline)) Buffer(Buffer&& other) noexcept
        : data_(other.data_), size_(other.size_), capacity_(other.capacity_) {
        other.data_ = nullptr;
        other.size_ = other.capacity_ = 0;
    }
    __attribute__((always_inline)) Buffer& operator=(Buffer&& other) noexcept {
        T* data = data_;
        size_t size = size_, capacity = capacity_;
        data_ = other.data_, size_ = other.size_, capacity_ = other.capacity_;
        other.data_ = data, other.size_ = size, other.capacity_ = capacity;
        return *this;
    }
    __attribute__((always_inline)) ~Buffer() {
        if (data_ != nullptr) release_memory(data_, capacity_);
    }

    // Drops the contents.
    __attribute__((always_inline)) void allocate(size_t size, bool tight = false) {
        if (data_ != nullptr) release_memory(data_, capacity_);
        data_ = nullptr;
        data_ = static_cast<T*>(acquire_memory(size * sizeof(T), tight, &capacity_));
        size_ = size;
    }
    __attribute__((always_inline)) T* data() { return data_; }
    __attribute__((always_inline)) const T* data() const { return data_; }
    __attribute__((always_inline)) size_t size() const { return size_; }
    __attribute__((always_inline)) size_t capacity() const { return capacity_; }  // bytes
    __attribute__((always_inline)) T& operator[](size_t i) { return data_[i]; }
    __attribute__((always_inline)) const T& operator[](size_t i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    size_t size_ = 0;
    size_t capacity_ = 0;
};

}  // namespace panoptic_gs
