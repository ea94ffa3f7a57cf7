// SPDX-License-Identifier: Apache-2.0
// The device kernels, compiled for the host, as plain C functions.
#define PGS_CUDA_EMULATION
#include "feature_votes.cuh"
#include "label_votes.cuh"
#include "limits.cuh"
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

void emulated_add_feature_votes(unsigned seed, const TileLists* lists, const FeatureChannels* features,
                                const FeatureSums* sums) {
    const dim3 blocks = feature_blocks(*lists, *features);
    if (features->weights != nullptr)
        emulation::launch(seed, blocks, kThreads, feature_votes_kernel<true>, *lists, *features, *sums);
    else
        emulation::launch(seed, blocks, kThreads, feature_votes_kernel<false>, *lists, *features, *sums);
}

void emulated_render_panoptic(unsigned seed, const TileLists* lists, const LabelRows* labels, int32_t* winners,
                              float* confidence, float* accumulation) {
    const auto tiles = static_cast<unsigned>(lists->tile_width * lists->tile_height);
    emulation::launch(seed, tiles, kThreads, panoptic_kernel, *lists, *labels, winners, confidence, accumulation);
}

void emulated_atomic_adds(unsigned seed, unsigned long long* counters, unsigned num_counters, unsigned blocks,
                          int rounds) {
    emulation::launch(seed, blocks, kThreads, atomic_adds_kernel, counters, num_counters, rounds);
}
}
