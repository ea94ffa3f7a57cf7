// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "binding.h"
#include "core/arrays.h"
#include "core/thread_pool.h"
#include "image/similarity.h"

namespace panoptic_gs {

namespace {

constexpr int kRows = 16;  // of a task; sums are taken over tasks in order

SimilarityJob job_of(const ConstFloatArray& x, const ConstFloatArray& y) {
    SimilarityJob job{};
    job.height = static_cast<int>(x.shape(0));
    job.width = static_cast<int>(x.shape(1));
    job.channels = static_cast<int>(x.shape(2));
    job.x = x.data();
    job.y = y.data();
    double weights[kWindow], sum = 0.0;
    for (int k = 0; k < kWindow; ++k) {
        const double offset = k - kWindow / 2;
        sum += weights[k] = std::exp(-offset * offset / (2.0 * 1.5 * 1.5));
    }
    for (int k = 0; k < kWindow; ++k) job.weights[k] = static_cast<float>(weights[k] / sum);
    return job;
}

void set_slopes(SimilarityJob& job, float* slopes) {
    const int64_t size = (job.height - kWindow + 1) * job.inner_row();
    for (int q = 0; q < 3; ++q) job.slopes[q] = slopes + q * size;
}

// What the gradient needs again.
struct SimilaritySlopes {
    Buffer<float> values;
};

std::pair<double, std::shared_ptr<SimilaritySlopes>> similarity(const ConstFloatArray& x, const ConstFloatArray& y,
                                                                bool keep_slopes, int threads) {
    SimilarityJob job = job_of(x, y);
    const nb::gil_scoped_release unlocked;
    const int rows = job.height - kWindow + 1, tasks = (rows + kRows - 1) / kRows;
    std::shared_ptr<SimilaritySlopes> slopes;
    if (keep_slopes) {
        slopes = std::make_shared<SimilaritySlopes>();
        slopes->values.allocate(static_cast<size_t>(3 * rows * job.inner_row()));
        set_slopes(job, slopes->values.data());
    }
    std::vector<double> sums(static_cast<size_t>(tasks));
    parallel_for(tasks, threads, [&](int64_t task, int) {
        Buffer<float> scratch(static_cast<size_t>(5 * kRows * job.row()));
        const int begin = static_cast<int>(task) * kRows;
        sums[static_cast<size_t>(task)] =
            PGS_DISPATCH(similarity_rows, job, begin, std::min(begin + kRows, rows), scratch.data());
    });
    double total = 0.0;
    for (double sum : sums) total += sum;
    return {total / (static_cast<double>(rows) * static_cast<double>(job.inner_row())), slopes};
}

void similarity_gradient(const ConstFloatArray& x, const ConstFloatArray& y, SimilaritySlopes& slopes,
                         double v_similarity, int threads, FloatArray v_x) {
    SimilarityJob job = job_of(x, y);
    set_slopes(job, slopes.values.data());
    job.v_x = v_x.data();
    job.v_scale = static_cast<float>(
        v_similarity / (static_cast<double>(job.height - kWindow + 1) * static_cast<double>(job.inner_row())));
    const nb::gil_scoped_release unlocked;
    parallel_for((job.height + kRows - 1) / kRows, threads, [&](int64_t task, int) {
        const int64_t padded = job.row() + (kWindow - 1) * job.channels;
        Buffer<float> scratch(static_cast<size_t>(3 * kRows * padded));
        const int begin = static_cast<int>(task) * kRows;
        PGS_DISPATCH(similarity_gradient_rows, job, begin, std::min(begin + kRows, job.height), scratch.data());
    });
}

const Binding binding([](nb::module_& m) {
    nb::class_<SimilaritySlopes>(m, "SimilaritySlopes");
    m.def("similarity", &similarity, nb::arg("x"), nb::arg("y"), nb::arg("keep_slopes"), nb::arg("threads"));
    m.def("similarity_gradient", &similarity_gradient, nb::arg("x"), nb::arg("y"), nb::arg("slopes"),
          nb::arg("v_similarity"), nb::arg("threads"), nb::arg("v_x"));
});

}  // namespace

}  // namespace panoptic_gs
