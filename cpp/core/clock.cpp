// SPDX-License-Identifier: Apache-2.0
#include "core/clock.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <time.h>
#endif

namespace panoptic_gs {

#if defined(_WIN32)

int64_t elapsed_time() {
    LARGE_INTEGER ticks, a_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&a_second);
    const int64_t seconds = ticks.QuadPart / a_second.QuadPart, rest = ticks.QuadPart % a_second.QuadPart;
    return 1000000000 * seconds + 1000000000 * rest / a_second.QuadPart;
}

int64_t thread_time() {
    FILETIME begun, ended, kernel, user;
    GetThreadTimes(GetCurrentThread(), &begun, &ended, &kernel, &user);
    const auto ticks = [](FILETIME t) { return (int64_t{t.dwHighDateTime} << 32) + int64_t{t.dwLowDateTime}; };
    return 100 * (ticks(kernel) + ticks(user));
}

#else

namespace {

int64_t read(clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return int64_t{1000000000} * t.tv_sec + t.tv_nsec;
}

}  // namespace

int64_t elapsed_time() { return read(CLOCK_MONOTONIC); }
int64_t thread_time() { return read(CLOCK_THREAD_CPUTIME_ID); }

#endif

}  // namespace panoptic_gs
