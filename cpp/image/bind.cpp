// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "binding.h"
#include "core/arrays.h"
#include "core/thread_pool.h"
#include "image/similarity.h"

namespace panoptic_gs {

namespace {

constexpr int kRows = 8;  // of a task; sums are taken over tasks in order

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

double similarity(const ConstFloatArray& x, const ConstFloatArray& y, const std::optional<FloatArray>& slopes,
                  int threads) {
    SimilarityJob job = job_of(x, y);
    if (slopes) set_slopes(job, slopes->data());
    const nb::gil_scoped_release unlocked;
    const int rows = job.height - kWindow + 1, tasks = (rows + kRows - 1) / kRows;
    std::vector<double> sums(static_cast<size_t>(tasks));
    parallel_for(tasks, threads, [&](int64_t task, int) {
        Buffer<float> scratch(static_cast<size_t>(5 * job.row()));
        const int begin = static_cast<int>(task) * kRows;
        sums[static_cast<size_t>(task)] =
            PGS_DISPATCH(similarity_rows, job, begin, std::min(begin + kRows, rows), scratch.data());
    });
    double total = 0.0;
    for (double sum : sums) total += sum;
    return total / (static_cast<double>(rows) * static_cast<double>(job.inner_row()));
}

void similarity_gradient(const ConstFloatArray& x, const ConstFloatArray& y, const ConstFloatArray& slopes,
                         double v_similarity, int threads, FloatArray v_x) {
    SimilarityJob job = job_of(x, y);
    set_slopes(job, const_cast<float*>(slopes.data()));  // only read by the gradient
    job.v_x = v_x.data();
    job.v_scale = static_cast<float>(v_similarity / (static_cast<double>(job.height - kWindow + 1) *
                                                     static_cast<double>(job.inner_row())));
    const nb::gil_scoped_release unlocked;
    parallel_for((job.height + kRows - 1) / kRows, threads, [&](int64_t task, int) {
        Buffer<float> scratch(static_cast<size_t>(3 * (job.row() + (kWindow - 1) * job.channels)));
        const int begin = static_cast<int>(task) * kRows;
        PGS_DISPATCH(similarity_gradient_rows, job, begin, std::min(begin + kRows, job.height), scratch.data());
    });
}

const Binding binding([](nb::module_& m) {
    m.def("similarity", &similarity, nb::arg("x"), nb::arg("y"), nb::arg("slopes").none(), nb::arg("threads"));
    m.def("similarity_gradient", &similarity_gradient, nb::arg("x"), nb::arg("y"), nb::arg("slopes"),
          nb::arg("v_similarity"), nb::arg("threads"), nb::arg("v_x"));
});

}  // namespace

}  // namespace panoptic_gs
