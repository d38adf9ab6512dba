// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "bindings/arrays.h"
#include "kernels/medians.h"

namespace spf {
namespace {

template <class Label>
void histograms_of(const Tensor& labels, const View<const uint8_t, 3>& voters, const View<int64_t, 2>& counts,
                   const Place& place) {
    const auto volume = labels.view<const Label, 3>();
    if (voters.data != nullptr && !std::equal(volume.shape, volume.shape + 3, voters.shape)) {
        throw py::value_error("mask and labels differ in shape");
    }
    if (counts.shape[0] > 255 || counts.shape[1] != volume.shape[0] + volume.shape[1] + volume.shape[2]) {
        throw py::value_error("histograms must have the shape (n_labels <= 255, x + y + z)");
    }
    // Safe: the caller keeps all tensors alive, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, label_histograms, volume, voters, static_cast<int>(counts.shape[0]), counts.data);
}

// histograms (n_labels, x + y + z), C-contiguous int64, are added to: the caller clears them.
void bound_label_histograms(const py::object& labels, const py::object& mask, const py::object& histograms, int threads,
                            std::uintptr_t stream) {
    const Tensor from(labels, "labels");
    const Tensor voters(mask.is_none() ? labels : mask, "mask");
    const Tensor to(histograms, "histograms");
    const Place place(threads, stream, {&from, &voters, &to});
    const auto counts = to.view<int64_t, 2>();
    to.need_contiguous();
    const auto mask_view = mask.is_none() ? View<const uint8_t, 3>{} : voters.view<const uint8_t, 3>();
    if (from.type() == kTypeName<uint8_t>) {
        histograms_of<uint8_t>(from, mask_view, counts, place);
    } else {
        histograms_of<float>(from, mask_view, counts, place);
    }
}

// Rows of all labels, in the order of LabelMedians: votes, median, q25, q75, lower, upper.
py::tuple label_statistics(const Array<int64_t>& histograms, std::array<int64_t, 3> shape) {
    const int64_t sides[3] = {shape[0], shape[1], shape[2]};
    const int64_t width = sides[0] + sides[1] + sides[2];
    const int64_t n = histograms.ndim() == 2 ? histograms.shape(0) : 0;
    const int64_t* rows = data_of(histograms, {n, width}, "histograms");
    py::array_t<int64_t> votes(n), lower({n, int64_t{3}}), upper({n, int64_t{3}});
    py::array_t<double> median({n, int64_t{3}}), q25({n, int64_t{3}}), q75({n, int64_t{3}});
    for (int64_t label = 0; label < n; ++label) {
        const LabelStatistics statistics = statistics_of(rows + label * width, sides);
        votes.mutable_at(label) = statistics.votes;
        for (int axis = 0; axis < 3; ++axis) {
            median.mutable_at(label, axis) = statistics.median[axis];
            q25.mutable_at(label, axis) = statistics.q25[axis];
            q75.mutable_at(label, axis) = statistics.q75[axis];
            lower.mutable_at(label, axis) = statistics.lower[axis];
            upper.mutable_at(label, axis) = statistics.upper[axis];
        }
    }
    return py::make_tuple(votes, median, q25, q75, lower, upper);
}

}  // namespace

void bind_medians(py::module_& module) {
    module.def("label_histograms", bound_label_histograms, py::arg("labels"), py::arg("mask").none(true),
               py::arg("histograms"), py::arg("threads"), py::arg("stream"));
    module.def("label_statistics", label_statistics, py::arg("histograms").noconvert(), py::arg("shape"));
}

}  // namespace spf
