// SPDX-License-Identifier: Apache-2.0
#include "binding.h"
#include "core/arrays.h"
#include "sparse/sparse.h"

namespace panoptic_gs {

namespace {

using LongArray = Array<int64_t>;
using ConstLongArray = Array<const int64_t>;

SparseRows rows_of(const ConstLongArray& indptr, const ConstIntArray& column, const ConstFloatArray& weight,
                   int64_t columns) {
    return {static_cast<int64_t>(indptr.shape(0)) - 1, columns, indptr.data(), column.data(), weight.data()};
}

const Binding binding([](nb::module_& m) {
    m.def(
        "multiply_sparse",
        [](const ConstLongArray& indptr, const ConstIntArray& column, const ConstFloatArray& weight,
           const ConstFloatArray& dense, int threads, FloatArray out) {
            const auto columns = static_cast<int64_t>(dense.shape(0)), channels = static_cast<int64_t>(dense.shape(1));
            const nb::gil_scoped_release unlocked;
            multiply(rows_of(indptr, column, weight, columns), dense.data(), channels, threads, out.data());
        },
        nb::arg("indptr"), nb::arg("column"), nb::arg("weight"), nb::arg("dense"), nb::arg("threads"), nb::arg("out"));
    m.def(
        "transpose_sparse",
        [](const ConstLongArray& indptr, const ConstIntArray& column, const ConstFloatArray& weight, int threads,
           LongArray out_indptr, IntArray out_column, FloatArray out_weight) {
            const auto columns = static_cast<int64_t>(out_indptr.shape(0)) - 1;
            const nb::gil_scoped_release unlocked;
            transpose(rows_of(indptr, column, weight, columns), threads, out_indptr.data(), out_column.data(),
                      out_weight.data());
        },
        nb::arg("indptr"), nb::arg("column"), nb::arg("weight"), nb::arg("threads"), nb::arg("out_indptr"),
        nb::arg("out_column"), nb::arg("out_weight"));
});

}  // namespace

}  // namespace panoptic_gs
