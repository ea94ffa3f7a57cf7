// SPDX-License-Identifier: Apache-2.0
//
// Times in nanoseconds from some point on.
#pragma once

#include <cstdint>

namespace panoptic_gs {

// Never goes back.
int64_t elapsed_time();

// What the calling thread has computed; not what it has waited.
int64_t thread_time();

}  // namespace panoptic_gs
