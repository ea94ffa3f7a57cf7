// SPDX-License-Identifier: Apache-2.0
#include "feature_votes.cuh"

#include "launching.cuh"

namespace panoptic_gs::device {

const char* add_feature_votes(const TileLists& lists, FeatureChannels features, FeatureSums sums, Queue queue) {
    const dim3 blocks = feature_blocks(lists, features);
    if (blocks.x == 0 || blocks.y == 0 || lists.num_intersections == 0) return nullptr;
    return launch_on(queue, [&](cudaStream_t stream) {
        if (features.weights != nullptr) {
            feature_votes_kernel<true><<<blocks, kThreads, 0, stream>>>(lists, features, sums);
        } else {
            feature_votes_kernel<false><<<blocks, kThreads, 0, stream>>>(lists, features, sums);
        }
    });
}

}  // namespace panoptic_gs::device
