// SPDX-License-Identifier: Apache-2.0
#include "mesh/volume.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/thread_pool.h"

namespace panoptic_gs {

namespace {

constexpr int64_t kRows = 8;         // of the image that are searched for blocks at a time
constexpr int32_t kFarthest = 1 << 20;  // blocks from the origin
constexpr int64_t kPoints = 4096;

struct Pixel3 {
    float x, y, z;  // column, row, depth
};

Pixel3 project(const PinholeCamera& camera, const float point[3]) {
    const float* r = camera.rotation;
    const float x = r[0] * point[0] + r[1] * point[1] + r[2] * point[2] + camera.translation[0];
    const float y = r[3] * point[0] + r[4] * point[1] + r[5] * point[2] + camera.translation[1];
    const float z = r[6] * point[0] + r[7] * point[1] + r[8] * point[2] + camera.translation[2];
    const float inverse = z > 1e-6f ? 1.0f / z : 0.0f;
    return {camera.fx * x * inverse + camera.cx, camera.fy * y * inverse + camera.cy, z};
}

// The pixel under a projected point, or -1 outside of the image.
int64_t pixel_at(const PinholeCamera& camera, const Pixel3& at) {
    if (!(at.z > 1e-6f) || !(at.x >= 0.0f) || !(at.y >= 0.0f)) return -1;
    if (!(at.x < static_cast<float>(camera.width)) || !(at.y < static_cast<float>(camera.height))) return -1;
    return static_cast<int64_t>(at.y) * camera.width + static_cast<int64_t>(at.x);
}

// Whether a camera has none of these points [count, 3] in its picture, told by the corners of the box around them: all of
// them are behind it, or, none being behind, all beyond the same side.
bool outside(const PinholeCamera& camera, const float* points, int64_t count) {
    float low[3], high[3];
    for (int axis = 0; axis < 3; ++axis) low[axis] = high[axis] = points[axis];
    for (int64_t p = 1; p < count; ++p)
        for (int axis = 0; axis < 3; ++axis) {
            low[axis] = std::min(low[axis], points[3 * p + axis]);
            high[axis] = std::max(high[axis], points[3 * p + axis]);
        }
    int behind = 0, left = 0, right = 0, over = 0, under = 0;
    for (int corner = 0; corner < 8; ++corner) {
        const float at[3] = {(corner & 1) != 0 ? high[0] : low[0], (corner & 2) != 0 ? high[1] : low[1],
                             (corner & 4) != 0 ? high[2] : low[2]};
        const Pixel3 seen = project(camera, at);
        behind += seen.z <= 1e-6f;
        left += seen.x < -1.0f;
        right += seen.x > static_cast<float>(camera.width) + 1.0f;
        over += seen.y < -1.0f;
        under += seen.y > static_cast<float>(camera.height) + 1.0f;
    }
    if (behind != 0) return behind == 8;
    return left == 8 || right == 8 || over == 8 || under == 8;
}

int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

}  // namespace

namespace {

// Where a block's votes for a label are. A label that is new takes the place of that with least votes, where there are
// as many as may be.
int64_t plane_of(VoxelBlock& block, int32_t label) {
    const auto found = std::find(block.labels.begin(), block.labels.end(), label);
    if (found != block.labels.end()) return found - block.labels.begin();
    if (block.labels.size() < kMostLabels) {
        block.labels.push_back(label);
        block.votes.resize(block.labels.size() * kBlockVoxels, 0.0f);
        return static_cast<int64_t>(block.labels.size()) - 1;
    }
    size_t least = 0;
    float fewest = 0.0f;
    for (size_t k = 0; k < block.labels.size(); ++k) {
        float sum = 0.0f;
        for (int v = 0; v < kBlockVoxels; ++v) sum += block.votes[k * kBlockVoxels + static_cast<size_t>(v)];
        if (k == 0 || sum < fewest) least = k, fewest = sum;
    }
    block.others.resize(kBlockVoxels, 0.0f);
    for (size_t v = 0; v < static_cast<size_t>(kBlockVoxels); ++v) {
        block.others[v] += block.votes[least * kBlockVoxels + v];
        block.votes[least * kBlockVoxels + v] = 0.0f;
    }
    block.labels[least] = label;
    return static_cast<int64_t>(least);
}

}  // namespace

uint64_t VoxelVolume::key_of(const Place& place) {
    uint64_t key = 0;
    for (const int32_t c : place) key = key << 21 | static_cast<uint64_t>(c + kFarthest);
    return key;
}

const VoxelBlock* VoxelVolume::find(const Place& place) const {
    for (const int32_t c : place)
        if (c < -kFarthest || c >= kFarthest) return nullptr;
    const auto found = index_.find(key_of(place));
    return found == index_.end() ? nullptr : blocks_[static_cast<size_t>(found->second)].get();
}

int64_t VoxelVolume::bytes() const {
    int64_t bytes = 0;
    for (const auto& block : blocks_)
        bytes += static_cast<int64_t>(sizeof(VoxelBlock) +
                                      (block->votes.capacity() + block->others.capacity()) * sizeof(float) +
                                      block->labels.capacity() * sizeof(int32_t));
    return bytes + static_cast<int64_t>(index_.size()) * 32;
}

void VoxelVolume::bounds(int32_t* low, int32_t* high) const {
    for (int axis = 0; axis < 3; ++axis) {
        low[axis] = high[axis] = 0;
        for (size_t i = 0; i < blocks_.size(); ++i) {
            const int32_t place = blocks_[i]->place[static_cast<size_t>(axis)];
            low[axis] = i == 0 ? place : std::min(low[axis], place);
            high[axis] = i == 0 ? place + 1 : std::max(high[axis], place + 1);
        }
    }
}

// The blocks within the truncation of what each pixel shows.
void VoxelVolume::make_blocks(const DepthView& view, int threads) {
    const PinholeCamera& camera = view.camera;
    const int64_t parts = (camera.height + kRows - 1) / kRows;
    std::vector<std::vector<uint64_t>> found(static_cast<size_t>(parts));
    const double side = voxel_ * kVoxelSide, step = 2.0 * voxel_;
    const int steps = static_cast<int>(std::ceil(2.0 * truncation_ / step));
    parallel_for(parts, threads, [&](int64_t part, int) {
        std::vector<uint64_t>& keys = found[static_cast<size_t>(part)];
        for (int64_t row = part * kRows; row < std::min<int64_t>(camera.height, (part + 1) * kRows); ++row) {
            for (int64_t column = 0; column < camera.width; ++column) {
                const int64_t pixel = row * camera.width + column;
                const double depth = view.depth[pixel];
                if (!(depth > 0.0) || !(view.weight[pixel] > 0.0f)) continue;
                const double x = (static_cast<double>(column) + kPixelCentre - camera.cx) / camera.fx;
                const double y = (static_cast<double>(row) + kPixelCentre - camera.cy) / camera.fy;
                // Steps are along the ray, whose points have z = depth.
                const double stretch = 1.0 / std::sqrt(x * x + y * y + 1.0);
                for (int i = 0; i <= steps; ++i) {
                    const double z = depth + (i * step - truncation_) * stretch;
                    if (z <= 0.0) continue;
                    const double local[3] = {x * z - camera.translation[0], y * z - camera.translation[1],
                                             z - camera.translation[2]};
                    Place place;
                    bool near = true;
                    for (int axis = 0; axis < 3; ++axis) {
                        const double at = camera.rotation[axis] * local[0] + camera.rotation[3 + axis] * local[1] +
                                          camera.rotation[6 + axis] * local[2];
                        const double block = std::floor(at / side);
                        near = near && std::abs(block) < kFarthest;
                        place[static_cast<size_t>(axis)] = near ? static_cast<int32_t>(block) : 0;
                    }
                    if (!near) continue;
                    const uint64_t key = key_of(place);
                    if (keys.empty() || keys.back() != key) keys.push_back(key);
                }
            }
        }
        std::sort(keys.begin(), keys.end());
        keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    });
    std::vector<uint64_t> fresh;
    for (const auto& keys : found)
        for (const uint64_t key : keys)
            if (index_.find(key) == index_.end()) fresh.push_back(key);
    std::sort(fresh.begin(), fresh.end());
    fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
    const int64_t of_fresh = sizeof(VoxelBlock) + 2 * kBlockVoxels * sizeof(float);
    wanted_bytes_ = bytes() + static_cast<int64_t>(fresh.size()) * of_fresh;
    if (wanted_bytes_ > most_bytes_)
        throw std::length_error("more blocks of voxels than asked for");
    for (const uint64_t key : fresh) {
        auto block = std::make_unique<VoxelBlock>();
        for (size_t axis = 0; axis < 3; ++axis)
            block->place[axis] = static_cast<int32_t>(key >> (21 * (2 - axis)) & ((1u << 21) - 1)) - kFarthest;
        std::fill_n(block->distance, kBlockVoxels, 1.0f);
        std::fill_n(block->weight, kBlockVoxels, 0.0f);
        std::fill_n(block->color_weight, kBlockVoxels, 0.0f);
        std::fill_n(block->color[0], 3 * kBlockVoxels, 0.0f);
        index_.emplace(key, num_blocks());
        blocks_.push_back(std::move(block));
    }
}

void VoxelVolume::update(VoxelBlock& block, const DepthView& view) const {
    const auto voxel = static_cast<float>(voxel_), truncation = static_cast<float>(truncation_);
    {
        // A block that lies outside of the picture with all of the ball around it is left alone.
        float middle[3];
        for (size_t axis = 0; axis < 3; ++axis)
            middle[axis] = static_cast<float>((block.place[axis] * kVoxelSide + 0.5 * (kVoxelSide - 1)) * voxel_);
        const Pixel3 at = project(view.camera, middle);
        const float radius = 0.87f * kVoxelSide * voxel;
        if (at.z < -radius) return;
        if (at.z > radius) {
            const float reach = std::max(view.camera.fx, view.camera.fy) * radius / (at.z - radius) * 1.5f;
            if (at.x < -reach || at.y < -reach || at.x > static_cast<float>(view.camera.width) + reach ||
                at.y > static_cast<float>(view.camera.height) + reach)
                return;
        }
    }
    const PinholeCamera& camera = view.camera;
    const float* r = camera.rotation;
    int64_t last_plane = -1;
    int32_t last_label = 0;
    for (int row = 0; row < kBlockVoxels / kVoxelSide; ++row) {
        // Eight voxels along x: where they are in the picture, in loops that the compiler turns into vectors.
        const float y = static_cast<float>((block.place[1] * kVoxelSide + row % kVoxelSide) * voxel_);
        const float z = static_cast<float>((block.place[2] * kVoxelSide + row / kVoxelSide) * voxel_);
        const float start[3] = {r[1] * y + r[2] * z + camera.translation[0], r[4] * y + r[5] * z + camera.translation[1],
                                r[7] * y + r[8] * z + camera.translation[2]};
        float column[kVoxelSide], line[kVoxelSide], depth[kVoxelSide], stretch[kVoxelSide];
        for (int i = 0; i < kVoxelSide; ++i) {
            const float x = static_cast<float>(block.place[0] * kVoxelSide + i) * voxel;
            depth[i] = r[6] * x + start[2];
            const float inverse = 1.0f / std::max(depth[i], 1e-6f);
            const float u = (r[0] * x + start[0]) * inverse, w = (r[3] * x + start[1]) * inverse;
            column[i] = camera.fx * u + camera.cx;
            line[i] = camera.fy * w + camera.cy;
            stretch[i] = std::sqrt(u * u + w * w + 1.0f);
        }
        for (int i = 0; i < kVoxelSide; ++i) {
            const int64_t pixel = pixel_at(camera, {column[i], line[i], depth[i]});
            if (pixel < 0 || !(view.depth[pixel] > 0.0f) || !(view.weight[pixel] > 0.0f)) continue;
            const float distance = (view.depth[pixel] - depth[i]) * stretch[i];  // along the ray
            if (distance < -truncation) continue;
            // Behind the surface a view knows less the farther (Bylow et al. 2013): thin things keep both sides.
            const float known = distance >= 0.0f ? 1.0f : 1.0f + distance / truncation;
            const float weight = view.weight[pixel] * known;
            if (!(weight > 0.0f)) continue;
            const int v = row * kVoxelSide + i;
            const float total = block.weight[v] + weight;
            block.distance[v] += (std::min(1.0f, distance / truncation) - block.distance[v]) * (weight / total);
            block.weight[v] = total;
            if (distance > truncation) continue;
            const float colored = block.color_weight[v] + weight;
            for (int c = 0; c < 3; ++c)
                block.color[v][c] += (view.color[3 * pixel + c] - block.color[v][c]) * (weight / colored);
            block.color_weight[v] = colored;
            const int32_t label = view.label[pixel];
            if (last_plane < 0 || label != last_label) {
                last_label = label;
                last_plane = plane_of(block, label);
            }
            block.votes[static_cast<size_t>(last_plane * kBlockVoxels + v)] += weight * view.confidence[pixel];
        }
    }
}

void VoxelVolume::add(const DepthView& view, int threads) {
    const std::lock_guard<std::mutex> lock(mutex_);
    make_blocks(view, threads);
    parallel_for(num_blocks(), threads, [&](int64_t i, int) { update(*blocks_[static_cast<size_t>(i)], view); });
}

void VoxelVolume::copy(const int64_t* low, const int64_t* size, float* distance, float* weight, int threads) const {
    const int64_t first[3] = {floor_divide(low[0], kVoxelSide), floor_divide(low[1], kVoxelSide),
                              floor_divide(low[2], kVoxelSide)};
    const auto truncation = static_cast<float>(truncation_);
    parallel_for(size[0], threads, [&](int64_t x, int) {
        const int64_t at_x = low[0] + x, block_x = floor_divide(at_x, kVoxelSide);
        float* distances = distance + x * size[1] * size[2];
        float* weights = weight + x * size[1] * size[2];
        std::fill_n(distances, size[1] * size[2], truncation);
        std::fill_n(weights, size[1] * size[2], 0.0f);
        for (int64_t block_y = first[1]; block_y * kVoxelSide < low[1] + size[1]; ++block_y)
            for (int64_t block_z = first[2]; block_z * kVoxelSide < low[2] + size[2]; ++block_z) {
                const VoxelBlock* block = find({static_cast<int32_t>(block_x), static_cast<int32_t>(block_y),
                                                static_cast<int32_t>(block_z)});
                if (block == nullptr) continue;
                for (int64_t y = std::max(low[1], block_y * kVoxelSide);
                     y < std::min(low[1] + size[1], (block_y + 1) * kVoxelSide); ++y)
                    for (int64_t z = std::max(low[2], block_z * kVoxelSide);
                         z < std::min(low[2] + size[2], (block_z + 1) * kVoxelSide); ++z) {
                        const int64_t v = (at_x - block_x * kVoxelSide) + kVoxelSide * (y - block_y * kVoxelSide) +
                                          kVoxelSide * kVoxelSide * (z - block_z * kVoxelSide);
                        const int64_t out = (y - low[1]) * size[2] + (z - low[2]);
                        distances[out] = block->distance[v] * truncation;
                        weights[out] = block->weight[v];
                    }
            }
    });
}

void VoxelVolume::sample(const float* points, int64_t count, float* color, int32_t* label, float* share, float* weight,
                         int threads) const {
    parallel_for((count + kPoints - 1) / kPoints, threads, [&](int64_t chunk, int) {
        std::vector<std::pair<int32_t, float>> votes;
        for (int64_t p = chunk * kPoints; p < std::min(count, (chunk + 1) * kPoints); ++p) {
            int64_t low[3];
            double part[3];
            for (int axis = 0; axis < 3; ++axis) {
                const double at = points[3 * p + axis] / voxel_;
                low[axis] = static_cast<int64_t>(std::floor(at));
                part[axis] = at - static_cast<double>(low[axis]);
            }
            votes.clear();
            double sums[3] = {0, 0, 0}, colored = 0, known = 0;
            float of_others = 0.0f;
            for (int corner = 0; corner < 8; ++corner) {
                double trilinear = 1.0;
                int64_t at[3];
                Place place;
                for (int axis = 0; axis < 3; ++axis) {
                    const int side = corner >> axis & 1;
                    trilinear *= side != 0 ? part[axis] : 1.0 - part[axis];
                    at[axis] = low[axis] + side;
                    place[static_cast<size_t>(axis)] = static_cast<int32_t>(floor_divide(at[axis], kVoxelSide));
                }
                if (trilinear <= 0.0) continue;
                const VoxelBlock* block = find(place);
                if (block == nullptr) continue;
                const int64_t v = (at[0] - int64_t{place[0]} * kVoxelSide) +
                                  kVoxelSide * (at[1] - int64_t{place[1]} * kVoxelSide) +
                                  kVoxelSide * kVoxelSide * (at[2] - int64_t{place[2]} * kVoxelSide);
                known += trilinear * block->weight[v];
                if (block->color_weight[v] > 0.0f) {
                    colored += trilinear;
                    for (int c = 0; c < 3; ++c) sums[c] += trilinear * block->color[v][c];
                }
                if (!block->others.empty()) of_others += static_cast<float>(trilinear) * block->others[static_cast<size_t>(v)];
                for (size_t k = 0; k < block->labels.size(); ++k) {
                    const float vote = block->votes[k * kBlockVoxels + static_cast<size_t>(v)];
                    if (!(vote > 0.0f)) continue;
                    const auto same = std::find_if(votes.begin(), votes.end(), [&](const auto& entry) {
                        return entry.first == block->labels[k];
                    });
                    const auto counted = static_cast<float>(trilinear) * vote;
                    if (same == votes.end())
                        votes.emplace_back(block->labels[k], counted);
                    else
                        same->second += counted;
                }
            }
            int32_t best = 0;
            float most = 0.0f, all = 0.0f, none = 0.0f;
            for (const auto& [id, vote] : votes) {
                all += vote;
                if (id == 0)
                    none = vote;
                else if (vote > most || (vote == most && id < best))
                    best = id, most = vote;
            }
            all += of_others;
            if (best == 0) most = none;
            label[p] = best;
            share[p] = all > 0.0f ? std::min(1.0f, most / all) : 0.0f;
            weight[p] = static_cast<float>(known);
            for (int c = 0; c < 3; ++c) color[3 * p + c] = colored > 0 ? static_cast<float>(sums[c] / colored) : 0.0f;
        }
    });
}

void count_free(const float* points, int64_t count, const std::vector<DepthView>& views, float margin, uint8_t* free,
                int threads) {
    parallel_for((count + kPoints - 1) / kPoints, threads, [&](int64_t chunk, int) {
        const int64_t first = chunk * kPoints, last = std::min(count, (chunk + 1) * kPoints);
        std::fill(free + first, free + last, uint8_t{0});
        for (const DepthView& view : views) {
            if (outside(view.camera, points + 3 * first, last - first)) continue;
            for (int64_t p = first; p < last; ++p) {
                const Pixel3 at = project(view.camera, points + 3 * p);
                const int64_t pixel = pixel_at(view.camera, at);
                if (pixel >= 0 && view.depth[pixel] > at.z + margin && free[p] < 255) ++free[p];
            }
        }
    });
}

}  // namespace panoptic_gs
