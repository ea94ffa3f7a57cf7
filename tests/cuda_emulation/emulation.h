// SPDX-License-Identifier: Apache-2.0
// A small stand-in for the CUDA runtime: runs the device kernels on the host, compiled as C++.
//
// Each thread of a block is a fiber. A fiber runs until it meets its warp or its block; a warp goes on when its 32
// lanes have arrived at the same call, a block when all its fibers have. Blocks run one after another, and the order of
// blocks and warps is shuffled from a seed, so that a result which depends on it shows. Waiting lanes whose warp can
// never be complete are reported as a deadlock.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned columns, unsigned rows = 1) : x(columns), y(rows) {}
};

using std::max;
using std::min;

namespace emulation {

struct Index {
    unsigned x = 0, y = 0, z = 0;
};

enum class Call { none, ballot, shuffle, match, reduce_add, block };

class Block {
public:
    static Block& current() {
        static Block block;
        return block;
    }

    Index thread_index, block_index;

    void run(unsigned threads, std::function<void()> kernel, std::mt19937& random) {
        kernel_ = std::move(kernel);
        fibers_.clear();
        for (unsigned i = 0; i < threads; ++i) fibers_.push_back(std::make_unique<Fiber>());
        warps_.assign((threads + 31) / 32, {});
        for (unsigned i = 0; i < threads; ++i) {
            Fiber& fiber = *fibers_[i];
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = &scheduler_;
            makecontext(&fiber.context, &Block::enter, 0);
        }
        std::vector<unsigned> order(warps_.size());
        std::iota(order.begin(), order.end(), 0u);
        for (bool alive = true; alive;) {
            std::shuffle(order.begin(), order.end(), random);
            bool progress = false;
            for (unsigned warp : order) progress |= advance(warp);
            alive = std::any_of(fibers_.begin(), fibers_.end(), [](const auto& f) { return !f->finished; });
            if (alive && !progress) {
                release_block();
            }
        }
    }

    // Deposits a value and returns those of the 32 lanes.
    const std::array<uint64_t, 32>& meet_warp(Call call, uint64_t value) {
        Fiber& fiber = *fibers_[running_];
        fiber.waits_for = call;
        fiber.value = value;
        swapcontext(&fiber.context, &scheduler_);
        return warps_[running_ / 32].values;
    }

    int meet_block(bool vote) {
        Fiber& fiber = *fibers_[running_];
        fiber.waits_for = Call::block;
        fiber.value = vote;
        swapcontext(&fiber.context, &scheduler_);
        return block_count_;
    }

    unsigned lane() const { return running_ % 32; }

private:
    struct Fiber {
        ucontext_t context;
        std::vector<char> stack = std::vector<char>(64 * 1024);
        Call waits_for = Call::none;
        uint64_t value = 0;
        bool finished = false;
    };
    struct Warp {
        std::array<uint64_t, 32> values{};
    };

    static void enter() {
        Block& block = current();
        block.kernel_();
        block.fibers_[block.running_]->finished = true;
    }

    void resume(unsigned i) {
        running_ = i;
        thread_index.x = i;
        fibers_[i]->waits_for = Call::none;
        swapcontext(&scheduler_, &fibers_[i]->context);
    }

    bool advance(unsigned warp) {
        bool progress = false;
        const unsigned begin = warp * 32, end = std::min<unsigned>(begin + 32, static_cast<unsigned>(fibers_.size()));
        for (unsigned i = begin; i < end; ++i) {
            if (!fibers_[i]->finished && fibers_[i]->waits_for == Call::none) {
                resume(i);
                progress = true;
            }
        }
        const Call call = fibers_[begin]->waits_for;
        if (call == Call::none || call == Call::block) return progress;
        for (unsigned i = begin; i < end; ++i) {
            if (fibers_[i]->finished || fibers_[i]->waits_for != call)
                fail("the lanes of a warp are at different calls");
            warps_[warp].values[i - begin] = fibers_[i]->value;
        }
        for (unsigned i = begin; i < end; ++i) resume(i);
        return true;
    }

    void release_block() {
        block_count_ = 0;
        for (const auto& fiber : fibers_) {
            if (fiber->finished || fiber->waits_for != Call::block) fail("a barrier that not every thread reaches");
            block_count_ += fiber->value != 0;
        }
        const int count = block_count_;
        for (unsigned i = 0; i < fibers_.size(); ++i) {
            block_count_ = count;
            resume(i);
        }
    }

    [[noreturn]] static void fail(const char* what) {
        std::fprintf(stderr, "emulated kernel: %s\n", what);
        std::abort();
    }

    std::function<void()> kernel_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Warp> warps_;
    ucontext_t scheduler_;
    unsigned running_ = 0;
    int block_count_ = 0;
};

template <class Kernel, class... Arguments>
void launch(unsigned seed, dim3 blocks, unsigned threads, Kernel kernel, Arguments... arguments) {
    std::mt19937 random(seed);
    std::vector<unsigned> order(blocks.x * blocks.y);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    for (unsigned index : order) {
        Block::current().block_index = {index % blocks.x, index / blocks.x, 0};
        Block::current().run(
            threads, [&] { kernel(arguments...); }, random);
    }
}

inline Block& block() { return Block::current(); }

}  // namespace emulation

#define threadIdx (emulation::block().thread_index)
#define blockIdx (emulation::block().block_index)

inline void __syncthreads() { emulation::block().meet_block(false); }
inline int __syncthreads_count(bool vote) { return emulation::block().meet_block(vote); }

inline unsigned __ballot_sync(unsigned, bool vote) {
    unsigned bits = 0;
    const auto& values = emulation::block().meet_warp(emulation::Call::ballot, vote);
    for (unsigned lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(values[lane]) << lane;
    return bits;
}
inline bool __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }
inline bool __all_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) == 0xFFFFFFFFu; }

template <class T>
T __shfl_sync(unsigned, T value, int source) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    const auto& values = emulation::block().meet_warp(emulation::Call::shuffle, bits);
    std::memcpy(&value, &values[static_cast<size_t>(source) & 31], sizeof(T));
    return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
    return __shfl_sync(mask, value, static_cast<int>(emulation::block().lane()) ^ bits);
}
inline unsigned __match_any_sync(unsigned, int value) {
    unsigned same = 0;
    const auto& values = emulation::block().meet_warp(emulation::Call::match, static_cast<uint32_t>(value));
    for (unsigned lane = 0; lane < 32; ++lane)
        same |= static_cast<unsigned>(values[lane] == static_cast<uint32_t>(value)) << lane;
    return same;
}
inline uint32_t __reduce_add_sync(unsigned, uint32_t value) {
    uint32_t sum = 0;
    for (uint64_t v : emulation::block().meet_warp(emulation::Call::reduce_add, value)) sum += static_cast<uint32_t>(v);
    return sum;
}

inline long long __float2ll_rn(float value) { return std::llrint(value); }
inline int __ffs(int value) { return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1; }
inline int __popc(unsigned value) { return std::popcount(value); }

template <class T, class U>
T atomicAdd(T* address, U value) {
    const T old = *address;
    *address = static_cast<T>(old + static_cast<T>(value));
    return old;
}
template <class T>
T atomicCAS(T* address, T expected, T value) {
    const T old = *address;
    if (old == expected) *address = value;
    return old;
}
template <class T>
T atomicOr(T* address, T value) {
    const T old = *address;
    *address = old | value;
    return old;
}
