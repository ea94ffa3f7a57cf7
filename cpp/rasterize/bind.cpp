// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <tuple>

#include "binding.h"
#include "core/arrays.h"
#include "rasterize/frame.h"

namespace panoptic_gs {

namespace {

using Floats = std::vector<ConstFloatArray>;

using Offsets = nb::ndarray<nb::numpy, const uint32_t, nb::ndim<1>>;  // into the view's own memory
using Indices = nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>;

// An array of its own with room for `room` numbers, of which fill(numbers) returns how many it wrote.
template <class Fill>
Indices indices_of(size_t room, Fill&& fill) {
    auto* numbers = new int64_t[room + 1];
    nb::capsule owner(numbers, [](void* p) noexcept { delete[] static_cast<int64_t*>(p); });
    const size_t count = fill(numbers);
    return Indices(numbers, {count}, owner);
}

Indices visible_ids(const View& view) {
    return indices_of(view.footprints.size(), [&](int64_t* ids) {
        size_t count = 0;
        for (int64_t i = 0; i < view.count; ++i)
            if (view.rank_of[static_cast<size_t>(i)] >= 0) ids[count++] = i;
        return count;
    });
}

Indices ids_by_rank(const View& view) {
    return indices_of(view.footprints.size(), [&](int64_t* ids) {
        for (size_t i = 0; i < view.footprints.size(); ++i) ids[i] = view.footprints[i].id;
        return view.footprints.size();
    });
}

ProjectionOptions options_of(float near_plane, float far_plane, float radius_clip, float eps2d, bool antialiased,
                             float alpha_max) {
    ProjectionOptions options;
    options.near_plane = near_plane;
    options.far_plane = far_plane;
    options.radius_clip = radius_clip;
    options.eps2d = eps2d;
    options.antialiased = antialiased;
    options.alpha_max = alpha_max;
    return options;
}

std::vector<ColorSource> sources_of(const Floats& colors) {
    std::vector<ColorSource> sources;
    for (const auto& color : colors) sources.push_back({color.data(), static_cast<int>(color.shape(1))});
    return sources;
}

std::shared_ptr<View> project(const ConstFloatArray& means, const ConstFloatArray& quats, const ConstFloatArray& scales,
                              const ConstFloatArray& opacities, const ConstFloatArray& viewmat,
                              const ConstFloatArray& K, int width, int height, float near_plane, float far_plane,
                              float radius_clip, float eps2d, bool antialiased, float alpha_max, int threads,
                              const std::optional<IntArray>& radii, const std::optional<FloatArray>& means2d,
                              const std::optional<FloatArray>& depths, const std::optional<FloatArray>& conics,
                              const std::optional<FloatArray>& compensations) {
    const Gaussians gaussians = gaussians_of(means, quats, scales, opacities);
    const PinholeCamera camera = camera_of(viewmat, K, width, height);
    const ProjectionResults results{data_or_null(radii), data_or_null(means2d), data_or_null(depths),
                                    data_or_null(conics), data_or_null(compensations)};
    auto view = std::make_shared<View>();
    nb::gil_scoped_release unlocked;
    make_view(gaussians, camera, options_of(near_plane, far_plane, radius_clip, eps2d, antialiased, alpha_max), threads,
              results, *view);
    return view;
}

void bind(nb::module_& m) {
    nb::class_<View>(m, "View")
        .def_ro("width", &View::width)
        .def_ro("height", &View::height)
        .def_ro("count", &View::count)
        .def_ro("invalid", &View::invalid)
        .def_prop_ro("visible", &View::visible)
        .def_prop_ro("intersections", &View::intersections)
        .def_prop_ro("tiles_x", [](const View& view) { return view.tiles_x; })
        .def_prop_ro("tiles_y", [](const View& view) { return view.tiles_y; })
        .def_prop_ro(
            "tile_offsets", [](View& view) { return Offsets(view.tile_offsets.data(), {view.tile_offsets.size()}); },
            nb::rv_policy::reference_internal, "Where each tile's list begins, [tiles + 1].")
        .def_prop_ro(
            "tile_ranks", [](View& view) { return Offsets(view.tile_ranks.data(), {view.tile_ranks.size()}); },
            nb::rv_policy::reference_internal, "Ranks in depth order, tile after tile.")
        .def_prop_ro("visible_ids", &visible_ids, nb::rv_policy::move, "Indices of the visible Gaussians, ascending.")
        .def_prop_ro("ids", &ids_by_rank, nb::rv_policy::move, "Index of the Gaussian at each rank.");
    nb::class_<PixelState>(m, "PixelState");
    m.attr("tile_size") = kTile;
    m.attr("alpha_max") = static_cast<double>(kAlphaMax);

    m.def("project", &project, nb::arg("means"), nb::arg("quats"), nb::arg("scales"), nb::arg("opacities"),
          nb::arg("viewmat"), nb::arg("K"), nb::arg("width"), nb::arg("height"), nb::arg("near_plane"),
          nb::arg("far_plane"), nb::arg("radius_clip"), nb::arg("eps2d"), nb::arg("antialiased"), nb::arg("alpha_max"),
          nb::arg("threads"), nb::arg("radii").none(), nb::arg("means2d").none(), nb::arg("depths").none(),
          nb::arg("conics").none(), nb::arg("compensations").none());

    m.def(
        "project_gradient",
        [](const ConstFloatArray& means, const ConstFloatArray& quats, const ConstFloatArray& scales,
           const ConstFloatArray& opacities, const ConstFloatArray& viewmat, const ConstFloatArray& K, int width,
           int height, float eps2d, int threads, const ConstIntArray& radii, const ConstFloatArray& v_means2d,
           const std::optional<ConstFloatArray>& v_depths, const ConstFloatArray& v_conics,
           const std::optional<ConstFloatArray>& v_compensations, bool accumulate, FloatArray v_means,
           FloatArray v_quats, FloatArray v_scales, const std::optional<FloatArray>& v_viewmat) {
            const Gaussians gaussians = gaussians_of(means, quats, scales, opacities);
            const ProjectionConstants constants = projection_constants(camera_of(viewmat, K, width, height),
                                                                       options_of(0, 0, 0, eps2d, false, kAlphaMax));
            const ProjectionGradientJob job{v_means2d.data(), data_or_null(v_depths),
                                            v_conics.data(),  data_or_null(v_compensations),
                                            radii.data(),     accumulate,
                                            v_means.data(),   v_quats.data(),
                                            v_scales.data()};
            nb::gil_scoped_release unlocked;
            project_gradient(gaussians, constants, job, threads, data_or_null(v_viewmat));
        },
        nb::arg("means"), nb::arg("quats"), nb::arg("scales"), nb::arg("opacities"), nb::arg("viewmat"), nb::arg("K"),
        nb::arg("width"), nb::arg("height"), nb::arg("eps2d"), nb::arg("threads"), nb::arg("radii"),
        nb::arg("v_means2d"), nb::arg("v_depths").none(), nb::arg("v_conics"), nb::arg("v_compensations").none(),
        nb::arg("accumulate"), nb::arg("v_means"), nb::arg("v_quats"), nb::arg("v_scales"),
        nb::arg("v_viewmat").none());

    m.def(
        "paint",
        [](const View& view, const Floats& colors, const std::optional<ConstFloatArray>& background, int threads,
           FloatArray image, FloatArray alpha, bool keep_state) {
            const auto sources = sources_of(colors);
            auto state = keep_state ? std::make_shared<PixelState>() : nullptr;
            nb::gil_scoped_release unlocked;
            paint(view, sources, data_or_null(background), threads, image.data(), alpha.data(), state.get());
            return state;
        },
        nb::arg("view"), nb::arg("colors"), nb::arg("background").none(), nb::arg("threads"), nb::arg("image"),
        nb::arg("alpha"), nb::arg("keep_state"));

    m.def(
        "count_pairs",
        [](const View& view, int threads) {
            const PairCounts counts = count_pairs(view, threads);
            return std::make_tuple(counts.evaluated, counts.blended);
        },
        nb::arg("view"), nb::arg("threads"));

    m.def(
        "find_crossings",
        [](const View& view, float share, int threads, IntArray out) {
            const nb::gil_scoped_release unlocked;
            find_crossings(view, share, threads, out.data());
        },
        nb::arg("view"), nb::arg("share"), nb::arg("threads"), nb::arg("out"));

    m.def(
        "paint_gradient",
        [](const View& view, const PixelState& state, const Floats& colors,
           const std::optional<ConstFloatArray>& background,
           const std::vector<std::pair<std::optional<ConstFloatArray>, int>>& v_images,
           const std::optional<ConstFloatArray>& v_alpha, int threads, FloatArray v_means2d,
           const std::optional<FloatArray>& v_means2d_abs, FloatArray v_conics, FloatArray v_opacities,
           const std::vector<FloatArray>& v_colors, const std::vector<bool>& accumulate) {
            const auto sources = sources_of(colors);
            std::vector<ColorGradient> v_sources;
            for (size_t i = 0; i < v_colors.size(); ++i)
                v_sources.push_back({v_colors[i].data(), static_cast<int>(v_colors[i].shape(1)), accumulate[i]});
            std::vector<ImageGradient> images;
            for (const auto& [values, channels] : v_images) images.push_back({data_or_null(values), channels});
            GaussianGradients out{};
            out.means2d = v_means2d.data();
            out.means2d_abs = data_or_null(v_means2d_abs);
            out.conics = v_conics.data();
            out.opacities = v_opacities.data();
            nb::gil_scoped_release unlocked;
            paint_gradient(view, sources, data_or_null(background), state, images, data_or_null(v_alpha), threads, out,
                           v_sources);
        },
        nb::arg("view"), nb::arg("state"), nb::arg("colors"), nb::arg("background").none(), nb::arg("v_images"),
        nb::arg("v_alpha").none(), nb::arg("threads"), nb::arg("v_means2d"), nb::arg("v_means2d_abs").none(),
        nb::arg("v_conics"), nb::arg("v_opacities"), nb::arg("v_colors"), nb::arg("accumulate"));

    m.def(
        "harmonics",
        [](int degree, const ConstFloatArray& means, const ConstFloatArray& centre, const ConstFloatArray& coeffs,
           const ConstIntArray& radii, int threads, FloatArray colors) {
            HarmonicsJob job{};
            job.count = static_cast<int64_t>(means.shape(0));
            job.degree = degree;
            job.bases = static_cast<int>(coeffs.shape(1));
            job.means = means.data();
            for (int i = 0; i < 3; ++i) job.centre[i] = centre.data()[i];
            job.coeffs = coeffs.data();
            job.radii = radii.data();
            job.colors = colors.data();
            nb::gil_scoped_release unlocked;
            harmonics(job, threads);
        },
        nb::arg("degree"), nb::arg("means"), nb::arg("centre"), nb::arg("coeffs"), nb::arg("radii"), nb::arg("threads"),
        nb::arg("colors"));

    m.def(
        "harmonics_gradient",
        [](int degree, const ConstFloatArray& means, const ConstFloatArray& centre, const ConstFloatArray& coeffs,
           const ConstIntArray& radii, const ConstFloatArray& colors, const ConstFloatArray& v_colors, int threads,
           bool accumulate_coeffs, FloatArray v_coeffs, bool accumulate, FloatArray v_means, FloatArray v_centre) {
            HarmonicsJob job{};
            job.count = static_cast<int64_t>(means.shape(0));
            job.degree = degree;
            job.bases = static_cast<int>(coeffs.shape(1));
            job.means = means.data();
            for (int i = 0; i < 3; ++i) job.centre[i] = centre.data()[i];
            job.coeffs = coeffs.data();
            job.radii = radii.data();
            job.colors = const_cast<float*>(colors.data());  // only read by the gradient
            job.v_colors = v_colors.data();
            job.v_coeffs = v_coeffs.data();
            job.v_means = v_means.data();
            job.accumulate = accumulate;
            job.accumulate_coeffs = accumulate_coeffs;
            nb::gil_scoped_release unlocked;
            harmonics_gradient(job, threads, v_centre.data());
        },
        nb::arg("degree"), nb::arg("means"), nb::arg("centre"), nb::arg("coeffs"), nb::arg("radii"), nb::arg("colors"),
        nb::arg("v_colors"), nb::arg("threads"), nb::arg("accumulate_coeffs"), nb::arg("v_coeffs"),
        nb::arg("accumulate"), nb::arg("v_means"), nb::arg("v_centre"));
}

const Binding binding(bind);

}  // namespace

}  // namespace panoptic_gs
