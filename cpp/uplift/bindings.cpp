// SPDX-License-Identifier: Apache-2.0
#include "binding.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "core/thread_pool.h"
#include "core/view.h"
#include "uplift/traversals.h"
#include "uplift/vote_store.h"

namespace nb = nanobind;

namespace panoptic_gs {

namespace {

template <class T, class... Shape>
using Array = nb::ndarray<T, Shape..., nb::c_contig, nb::device::cpu>;
using Vector = Array<const float, nb::ndim<1>>;
using Matrix = Array<const float, nb::ndim<2>>;
using Map = Array<const float, nb::ndim<2>>;

// What a call needs to make a View of CPU tensors.
View view_of(const Matrix& means, const Matrix& quats, const Matrix& scales, const Vector& opacities,
             const Matrix& viewmat, const Matrix& K, int width, int height, double near_plane, double far_plane,
             double radius_clip, double eps2d, bool antialiased, int threads) {
    const Gaussians gaussians{static_cast<int64_t>(means.shape(0)), means.data(), quats.data(), scales.data(),
                              opacities.data()};
    PinholeCamera camera{};
    for (int row = 0; row < 3; ++row) {
        for (int column = 0; column < 3; ++column) camera.rotation[3 * row + column] = viewmat.data()[4 * row + column];
        camera.translation[row] = viewmat.data()[4 * row + 3];
    }
    camera.fx = K.data()[0];
    camera.fy = K.data()[4];
    camera.cx = K.data()[2];
    camera.cy = K.data()[5];
    camera.width = width;
    camera.height = height;
    const ProjectionOptions options{static_cast<float>(near_plane), static_cast<float>(far_plane),
                                    static_cast<float>(radius_clip), static_cast<float>(eps2d), antialiased};
    View view;
    make_view(gaussians, camera, options, threads, ProjectionResults{}, view);
    return view;
}

void add_labels(VoteStore& store, Matrix means, Matrix quats, Matrix scales, Vector opacities, Matrix viewmat, Matrix K,
                Array<const int32_t, nb::ndim<2>> labels, std::optional<Map> weights, double near_plane,
                double far_plane, double radius_clip, double eps2d, bool antialiased, int threads) {
    const nb::gil_scoped_release release;
    const View view = view_of(means, quats, scales, opacities, viewmat, K, static_cast<int>(labels.shape(1)),
                              static_cast<int>(labels.shape(0)), near_plane, far_plane, radius_clip, eps2d, antialiased,
                              threads);
    std::vector<std::unique_ptr<VoteWriter>> owned;
    std::vector<VoteWriter*> writers;
    for (int i = 0; i < threads; ++i) {
        owned.push_back(std::make_unique<VoteWriter>(store));
        writers.push_back(owned.back().get());
    }
    const LabelVoteArguments arguments{view, labels.data(), weights ? weights->data() : nullptr, writers.data(), threads};
    PGS_DISPATCH(add_label_votes, arguments);
    parallel_for(threads, threads, [&](int64_t i, int) { writers[static_cast<size_t>(i)]->flush(); });
}

void add_rows(VoteStore& store, Array<const int64_t, nb::ndim<1>> indptr, Array<const int32_t, nb::ndim<1>> label,
              Array<const int64_t, nb::ndim<1>> sum) {
    const nb::gil_scoped_release release;
    VoteWriter writer(store);
    for (int64_t gaussian = 0; gaussian < store.num_gaussians(); ++gaussian) {
        for (int64_t i = indptr.data()[gaussian]; i < indptr.data()[gaussian + 1]; ++i)
            writer.add(static_cast<uint32_t>(gaussian), static_cast<uint32_t>(label.data()[i]),
                       static_cast<uint64_t>(sum.data()[i]));
    }
    writer.flush();
}

// Adds sum over pixels of weight x feature to `sums` [N, D] and of weight to `totals` [N].
void add_features(Array<float, nb::ndim<2>> sums, Array<float, nb::ndim<1>> totals, Matrix means, Matrix quats,
                  Matrix scales, Vector opacities, Matrix viewmat, Matrix K, Array<const float, nb::ndim<3>> features,
                  std::optional<Map> weights, double near_plane, double far_plane, double radius_clip, double eps2d,
                  bool antialiased, int64_t budget, int threads) {
    const nb::gil_scoped_release release;
    const View view = view_of(means, quats, scales, opacities, viewmat, K, static_cast<int>(features.shape(1)),
                              static_cast<int>(features.shape(0)), near_plane, far_plane, radius_clip, eps2d,
                              antialiased, threads);
    const auto channels = static_cast<int64_t>(features.shape(2));
    const int64_t pairs = std::max<int64_t>(1, view.intersections());
    const int64_t at_once = std::clamp<int64_t>(budget / (4 * pairs) / 16 * 16, std::min<int64_t>(channels, 16), channels);
    Buffer<float> pair_sums(static_cast<size_t>(pairs * at_once)), pair_totals(static_cast<size_t>(pairs));
    for (int64_t first = 0; first < channels; first += at_once) {
        const int64_t count = std::min(at_once, channels - first);
        const FeatureVoteArguments arguments{view, features.data(), weights ? weights->data() : nullptr, channels, first,
                                             count, pair_sums.data(), first == 0 ? pair_totals.data() : nullptr, threads};
        PGS_DISPATCH(add_feature_votes, arguments);
        constexpr int64_t kRanks = 1024;
        parallel_for((view.visible() + kRanks - 1) / kRanks, threads, [&](int64_t chunk, int) {
            for (int64_t rank = chunk * kRanks; rank < std::min(view.visible(), (chunk + 1) * kRanks); ++rank) {
                const auto gaussian = static_cast<int64_t>(view.footprints[static_cast<size_t>(rank)].id);
                float* row = sums.data() + gaussian * channels + first;
                for (uint32_t i = view.rank_offsets[static_cast<size_t>(rank)];
                     i < view.rank_offsets[static_cast<size_t>(rank) + 1]; ++i) {
                    const auto entry = static_cast<int64_t>(view.rank_entries[i]);
                    const float* pair = pair_sums.data() + entry * count;
                    for (int64_t c = 0; c < count; ++c) row[c] += pair[c];
                    if (first == 0) totals.data()[gaussian] += pair_totals[static_cast<size_t>(entry)];
                }
            }
        });
    }
}

void render(Matrix means, Matrix quats, Matrix scales, Vector opacities, Matrix viewmat, Matrix K,
            Array<const int64_t, nb::ndim<1>> indptr, Array<const int32_t, nb::ndim<1>> label, Vector weight,
            Array<int64_t, nb::ndim<2>> ids, Array<float, nb::ndim<2>> confidence, Array<float, nb::ndim<2>> accumulation,
            double near_plane, double far_plane, double radius_clip, double eps2d, bool antialiased, int threads) {
    const nb::gil_scoped_release release;
    const View view = view_of(means, quats, scales, opacities, viewmat, K, static_cast<int>(ids.shape(1)),
                              static_cast<int>(ids.shape(0)), near_plane, far_plane, radius_clip, eps2d, antialiased,
                              threads);
    const PanopticArguments arguments{view, indptr.data(), label.data(), weight.data(), ids.data(), confidence.data(),
                                      accumulation.data(), threads};
    PGS_DISPATCH(render_panoptic, arguments);
}

const Binding binding([](nb::module_& m) {
    nb::class_<VoteStore>(m, "VoteStore")
        .def(nb::init<int64_t>())
        .def_prop_ro("num_gaussians", &VoteStore::num_gaussians)
        .def_prop_ro("num_pairs", &VoteStore::num_pairs)
        .def_prop_ro("bytes", &VoteStore::bytes)
        .def("write_indptr", [](const VoteStore& store, bool void_too, int threads,
                                Array<int64_t, nb::ndim<1>> indptr) {
            store.write_indptr(void_too, threads, indptr.data());
        })
        .def("write_sums", [](const VoteStore& store, Array<const int64_t, nb::ndim<1>> indptr, int threads,
                              Array<int32_t, nb::ndim<1>> label, Array<int64_t, nb::ndim<1>> sum) {
            store.write_sums(indptr.data(), threads, label.data(), sum.data());
        })
        .def("write_shares", [](const VoteStore& store, Array<const int64_t, nb::ndim<1>> indptr, bool void_too,
                                int threads, Array<int32_t, nb::ndim<1>> label, Array<float, nb::ndim<1>> weight,
                                Array<float, nb::ndim<1>> total, Array<float, nb::ndim<1>> void_weight) {
            store.write_shares(indptr.data(), void_too, threads, label.data(), weight.data(), total.data(),
                               void_weight.data());
        })
        .def("add_rows", &add_rows)
        .def("add_view", &add_labels, nb::arg("means"), nb::arg("quats"), nb::arg("scales"), nb::arg("opacities"),
             nb::arg("viewmat"), nb::arg("K"), nb::arg("labels"), nb::arg("weights").none(), nb::arg("near_plane"),
             nb::arg("far_plane"), nb::arg("radius_clip"), nb::arg("eps2d"), nb::arg("antialiased"), nb::arg("threads"));
    m.def("add_features", &add_features, nb::arg("sums"), nb::arg("totals"), nb::arg("means"), nb::arg("quats"),
          nb::arg("scales"), nb::arg("opacities"), nb::arg("viewmat"), nb::arg("K"), nb::arg("features"),
          nb::arg("weights").none(), nb::arg("near_plane"), nb::arg("far_plane"), nb::arg("radius_clip"),
          nb::arg("eps2d"), nb::arg("antialiased"), nb::arg("budget"), nb::arg("threads"));
    m.def("render_panoptic", &render, nb::arg("means"), nb::arg("quats"), nb::arg("scales"), nb::arg("opacities"),
          nb::arg("viewmat"), nb::arg("K"), nb::arg("indptr"), nb::arg("label"), nb::arg("weight"), nb::arg("ids"),
          nb::arg("confidence"), nb::arg("accumulation"), nb::arg("near_plane"), nb::arg("far_plane"),
          nb::arg("radius_clip"), nb::arg("eps2d"), nb::arg("antialiased"), nb::arg("threads"));
});

}  // namespace

}  // namespace panoptic_gs
