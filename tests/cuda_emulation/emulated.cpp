// SPDX-License-Identifier: Apache-2.0
// The device kernels, compiled for the host, as plain C functions.
#define PGS_CUDA_EMULATION
#include "label_votes.cuh"
#include "panoptic.cuh"

using namespace panoptic_gs::device;

extern "C" {

void emulated_add_label_votes(unsigned seed, const TileLists* lists, const int32_t* label_map, const float* weights,
                              const VoteSlots* slots) {
    const auto tiles = static_cast<unsigned>(lists->tile_width * lists->tile_height);
    if (weights != nullptr)
        emulation::launch(seed, tiles, kThreads, label_votes_kernel<true>, *lists, label_map, weights, *slots);
    else
        emulation::launch(seed, tiles, kThreads, label_votes_kernel<false>, *lists, label_map, weights, *slots);
}

void emulated_render_panoptic(unsigned seed, const TileLists* lists, const LabelRows* labels, int32_t* winners,
                              float* confidence, float* accumulation) {
    const auto tiles = static_cast<unsigned>(lists->tile_width * lists->tile_height);
    emulation::launch(seed, tiles, kThreads, panoptic_kernel, *lists, *labels, winners, confidence, accumulation);
}
}
