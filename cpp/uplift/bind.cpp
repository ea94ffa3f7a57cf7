// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "binding.h"
#include "core/arrays.h"
#include "core/thread_pool.h"
#include "uplift/heard.h"
#include "uplift/traversals.h"
#include "uplift/view_weights.h"
#include "uplift/vote_store.h"

namespace panoptic_gs {

namespace {

using LongArray = Array<int64_t>;
using ConstLongArray = Array<const int64_t>;
using DoubleArray = Array<double>;
using ConstDoubleArray = Array<const double>;

// About `budget` bytes hold the votes that are not merged yet.
void add_view(VoteStore& store, const View& view, const ConstIntArray& labels,
              const std::optional<ConstFloatArray>& weights, int64_t budget, int threads) {
    const nb::gil_scoped_release unlocked;
    if (view.count != store.num_gaussians()) throw std::invalid_argument("a view of another number of Gaussians");
    ViewVotes votes(store.num_chunks(), store.chunk_shift(), threads, budget);
    std::vector<uint8_t> done(static_cast<size_t>(view.tiles()), 0);
    std::vector<RowBuilder> builders(static_cast<size_t>(threads));
    const std::lock_guard<std::mutex> lock(store.mutex());
    while (std::find(done.begin(), done.end(), 0) != done.end()) {
        votes.start_round();
        const LabelVoteArguments arguments{view, labels.data(), data_or_null(weights), votes, done.data(), threads};
        PGS_DISPATCH(add_label_votes, arguments);
        parallel_for(store.num_chunks(), threads, [&](int64_t chunk, int worker) {
            RowBuilder& builder = builders[static_cast<size_t>(worker)];
            builder.rows.pairs = store.chunk(chunk).pairs;
            builder.rows.void_pairs = store.chunk(chunk).void_pairs;
            if (PGS_DISPATCH(merge_votes, votes, chunk, store.rows(chunk), store.chunk_begin(chunk),
                             store.chunk_end(chunk), builder))
                store.replace(chunk, builder);
        });
    }
}

void add_sums(VoteStore& store, const ConstLongArray& gaussian, const ConstIntArray& label, const ConstLongArray& sum) {
    const nb::gil_scoped_release unlocked;
    store.add(gaussian.data(), label.data(), sum.data(), static_cast<int64_t>(gaussian.size()));
}

// How much is heard of what one view says, in pairs that ascend, into heard [n].
void hear(const VoteStore& store, const std::vector<int32_t>& labels, const ConstLongArray& gaussian,
          const ConstIntArray& label, const ConstLongArray& units, const ConstDoubleArray& weight, double power,
          double missed, DoubleArray heard) {
    const nb::gil_scoped_release unlocked;
    const OwnWord own{static_cast<int64_t>(gaussian.size()), gaussian.data(), label.data(), units.data(),
                      weight.data()};
    write_heard(store, labels, own, power, missed, heard.data());
}

// Adds the sums over pixels of weight x feature to `sums` [N, D] and those of the weight to `totals` [N], with about
// `budget` bytes for the channels that are summed at a time.
void add_features(const View& view, FloatArray sums, FloatArray totals, const ConstFloatArray& features,
                  const std::optional<ConstFloatArray>& weights, int64_t budget, int threads) {
    const nb::gil_scoped_release unlocked;
    const auto channels = static_cast<int64_t>(features.shape(2));
    const int64_t pairs = std::max<int64_t>(1, view.intersections());
    const int64_t fitting = budget / (static_cast<int64_t>(sizeof(float)) * pairs) / 16 * 16;
    const int64_t at_once = std::clamp<int64_t>(fitting, std::min<int64_t>(channels, 16), channels);
    Buffer<float> pair_sums(static_cast<size_t>(pairs * at_once)), pair_totals(static_cast<size_t>(pairs));
    for (int64_t first = 0; first < channels; first += at_once) {
        const int64_t count = std::min(at_once, channels - first);
        const FeatureVoteArguments arguments{
            view,   features.data(), data_or_null(weights), channels,
            first,  count,           pair_sums.data(),      first == 0 ? pair_totals.data() : nullptr,
            threads};
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

void render(const View& view, const ConstLongArray& indptr, const ConstIntArray& label, const ConstFloatArray& weight,
            LongArray ids, FloatArray confidence, FloatArray accumulation, int threads) {
    const nb::gil_scoped_release unlocked;
    const PanopticArguments arguments{view,       indptr.data(),     label.data(),        weight.data(),
                                      ids.data(), confidence.data(), accumulation.data(), threads};
    PGS_DISPATCH(render_panoptic, arguments);
}

const Binding binding([](nb::module_& m) {
    nb::class_<VoteStore>(m, "VoteStore")
        .def(nb::init<int64_t>(), nb::arg("num_gaussians"))
        .def_prop_ro("num_gaussians", &VoteStore::num_gaussians)
        .def_prop_ro("num_bytes", &VoteStore::bytes, nb::call_guard<nb::gil_scoped_release>())
        .def("add_view", &add_view, nb::arg("view"), nb::arg("labels"), nb::arg("weights").none(), nb::arg("budget"),
             nb::arg("threads"))
        .def("add_sums", &add_sums, nb::arg("gaussian"), nb::arg("label"), nb::arg("sum"))
        .def("labels", &labels_of, nb::call_guard<nb::gil_scoped_release>())
        .def("write_strongest",
             [](const VoteStore& store, int threads, LongArray best) {
                 const nb::gil_scoped_release unlocked;
                 write_strongest(store, threads, best.data());
             })
        .def("write_heard", &hear, nb::arg("labels"), nb::arg("gaussian"), nb::arg("label"), nb::arg("units"),
             nb::arg("weight"), nb::arg("power"), nb::arg("missed"), nb::arg("heard"))
        .def("num_pairs", &VoteStore::num_pairs, nb::arg("void_too"), nb::call_guard<nb::gil_scoped_release>())
        .def_prop_ro("num_chunks", &VoteStore::num_chunks)
        .def("pairs_of_chunk", [](const VoteStore& store, int64_t index) { return store.chunk(index).pairs; })
        .def("write_chunk",
             [](const VoteStore& store, int64_t index, LongArray key, LongArray sum) {
                 const nb::gil_scoped_release unlocked;
                 if (static_cast<int64_t>(key.size()) != store.chunk(index).pairs)
                     throw std::runtime_error("votes were added while they were read out");
                 store.write_chunk(index, key.data(), sum.data());
             })
        .def("write_sums",
             [](const VoteStore& store, int threads, LongArray indptr, IntArray label, LongArray sum) {
                 const nb::gil_scoped_release unlocked;
                 store.write_sums(static_cast<int64_t>(label.size()), threads, indptr.data(), label.data(), sum.data());
             })
        .def("write_shares", [](const VoteStore& store, bool void_too, int threads, LongArray indptr, IntArray label,
                                FloatArray weight, FloatArray total, FloatArray void_weight) {
            const nb::gil_scoped_release unlocked;
            store.write_shares(static_cast<int64_t>(label.size()), void_too, threads, indptr.data(), label.data(),
                               weight.data(), total.data(), void_weight.data());
        });
    m.def("add_features", &add_features, nb::arg("view"), nb::arg("sums"), nb::arg("totals"), nb::arg("features"),
          nb::arg("weights").none(), nb::arg("budget"), nb::arg("threads"));
    nb::class_<ViewWeights>(m, "ViewWeights")
        .def(
            "__init__",
            [](ViewWeights* weights, const View& view, const std::optional<ConstIntArray>& row_of, int64_t rows,
               int threads) {
                const nb::gil_scoped_release unlocked;
                new (weights) ViewWeights(view, data_or_null(row_of), rows, threads);
            },
            nb::arg("view"), nb::arg("row_of").none(), nb::arg("rows"), nb::arg("threads"), nb::keep_alive<1, 2>(),
            nb::keep_alive<1, 3>())
        .def_prop_ro("num_entries", &ViewWeights::num_entries)
        .def_prop_ro("num_columns", &ViewWeights::num_columns)
        .def(
            "write",
            [](const ViewWeights& weights, int threads, LongArray indptr, LongArray gaussians, IntArray column,
               FloatArray weight) {
                const nb::gil_scoped_release unlocked;
                weights.write(threads, indptr.data(), gaussians.data(), column.data(), weight.data());
            },
            nb::arg("threads"), nb::arg("indptr"), nb::arg("gaussians"), nb::arg("column"), nb::arg("weight"));
    m.def("render_panoptic", &render, nb::arg("view"), nb::arg("indptr"), nb::arg("label"), nb::arg("weight"),
          nb::arg("ids"), nb::arg("confidence"), nb::arg("accumulation"), nb::arg("threads"));
});

}  // namespace

}  // namespace panoptic_gs
