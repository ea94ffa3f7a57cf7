// SPDX-License-Identifier: Apache-2.0
//
// A small persistent thread pool. No OpenMP: torch ships its own runtime, and two of them in one process collide.
#pragma once

#include <cstdint>

namespace panoptic_gs {

// A borrowed callable `void(int64_t index, int worker)`.
struct Task {
    void* context;
    void (*call)(void* context, int64_t index, int worker);
};

// Calls task(index, worker) for each index in [0, count), at most `threads` at a time, worker in [0, threads).
// Indices are handed out in increasing order, one at a time. The caller takes part, returns when all are done, and may
// be any thread: several calls run side by side. A call from within a task runs on the calling worker alone. The first
// exception is passed on. A forked child starts its own workers.
void run_parallel(int64_t count, int threads, Task task);

// The lambda's type is unique, so nothing is shared between instruction sets.
template <class Function>
static inline __attribute__((always_inline)) void parallel_for(int64_t count, int threads, Function&& function) {
    struct Call {
        static void call(void* context, int64_t index, int worker) {
            (*static_cast<__typeof__(&function)>(context))(index, worker);
        }
    };
    run_parallel(count, threads, Task{const_cast<void*>(static_cast<const void*>(&function)), &Call::call});
}

}  // namespace panoptic_gs
