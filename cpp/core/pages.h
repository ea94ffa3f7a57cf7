// SPDX-License-Identifier: Apache-2.0
//
// Bytes that are kept for long and change their size often, and keep what they hold. Large ones are whole pages of their
// own, which the system moves rather than copies; none goes through the memory that frames recycle (buffer.h), which
// would keep each of their former sizes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace panoptic_gs {

class PagedBytes {
public:
    PagedBytes() = default;
    PagedBytes(const PagedBytes&) = delete;
    PagedBytes& operator=(const PagedBytes&) = delete;
    PagedBytes(PagedBytes&& other) noexcept;
    ~PagedBytes() { release(); }

    // What was there stays, as far as it fits. Throws std::bad_alloc.
    void resize(size_t size);
    const uint8_t* data() const { return data_; }
    uint8_t* data() { return data_; }
    size_t size() const { return size_; }
    size_t capacity() const { return capacity_; }

private:
    void release();

    uint8_t* data_ = nullptr;
    size_t size_ = 0, capacity_ = 0;
    bool mapped_ = false;  // pages of its own
};

}  // namespace panoptic_gs
