// SPDX-License-Identifier: Apache-2.0
//
// A truncated signed distance field in sparse blocks of 8 x 8 x 8 voxels (Curless and Levoy 1996; blocks as in Niessner
// et al. 2013), with a histogram of labels a voxel: a block keeps one plane of 512 sums for each label that was seen in
// it, so memory follows the labels that are there. Of more than kMostLabels, the label with least votes gives way, and its
// votes are counted as those of others.
//
// Each voxel is updated by one thread, view after view, and blocks are made in the order of their coordinates: no bit
// depends on the number of threads. The sources are compiled once, for the baseline, so none depends on the processor.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/view.h"

namespace panoptic_gs {

constexpr int kVoxelSide = 8;
constexpr size_t kMostLabels = 48;  // of a block
constexpr int kBlockVoxels = kVoxelSide * kVoxelSide * kVoxelSide;  // voxel v: x = v % 8, y = v / 8 % 8, z = v / 64

// What a camera saw; all maps [H, W] row major.
struct DepthView {
    PinholeCamera camera;
    const float* depth;       // along z, 0 = none
    const float* weight;      // what the pixel counts, 0 = nothing
    const int32_t* label;     // 0 = none
    const float* confidence;  // what its label counts
    const float* color;       // [H, W, 3]
};

struct VoxelBlock {
    std::array<int32_t, 3> place;  // in blocks
    float distance[kBlockVoxels];  // mean of the signed distances over the truncation, positive before the surface
    float weight[kBlockVoxels];
    float color_weight[kBlockVoxels];  // of what was seen within the truncation
    float color[kBlockVoxels][3];      // mean
    std::vector<int32_t> labels;       // in the order of their first vote
    std::vector<float> votes;          // [labels, kBlockVoxels]
    std::vector<float> others;         // [kBlockVoxels], of labels that gave way; empty where none did
};

class VoxelVolume {
public:
    // `voxel` and `truncation` in world units. Throws std::length_error in `add` where all blocks, and those that the
    // view adds with two labels each, take more than `most_bytes`.
    VoxelVolume(double voxel, double truncation, int64_t most_bytes)
        : voxel_(voxel), truncation_(truncation), most_bytes_(most_bytes) {}

    void add(const DepthView& view, int threads);

    double voxel() const { return voxel_; }
    double truncation() const { return truncation_; }
    int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()); }
    int64_t bytes() const;
    int64_t wanted_bytes() const { return wanted_bytes_; }  // of the blocks that the last view asked for, and all others
    std::mutex& mutex() { return mutex_; }

    // The lowest place of a block [3] and one past the highest [3]; zeros where there is none.
    void bounds(int32_t* low, int32_t* high) const;

    // Voxels [low, low + size) along x, y, z into dense arrays [size x, size y, size z]: distance in world units and
    // weight; where there is no block, distance = truncation and weight = 0.
    void copy(const int64_t* low, const int64_t* size, float* distance, float* weight, int threads) const;

    // At points [P, 3]: trilinear colour [P, 3], the label with the most votes (label 0 only where there is no other),
    // its share of all votes, and the trilinear weight.
    void sample(const float* points, int64_t count, float* color, int32_t* label, float* share, float* weight,
                int threads) const;

private:
    using Place = std::array<int32_t, 3>;
    static uint64_t key_of(const Place& place);
    const VoxelBlock* find(const Place& place) const;
    void make_blocks(const DepthView& view, int threads);
    void update(VoxelBlock& block, const DepthView& view) const;

    double voxel_, truncation_;
    int64_t most_bytes_, wanted_bytes_ = 0;
    std::vector<std::unique_ptr<VoxelBlock>> blocks_;
    std::unordered_map<uint64_t, int64_t> index_;
    std::mutex mutex_;
};

// In how many views, at most 255, each point [P, 3] lies before the surface by more than `margin`, into free [P].
void count_free(const float* points, int64_t count, const std::vector<DepthView>& views, float margin, uint8_t* free,
                int threads);

}  // namespace panoptic_gs
