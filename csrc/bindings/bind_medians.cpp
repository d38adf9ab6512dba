// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "bindings/arrays.h"
#include "kernels/medians.h"

namespace spf {
namespace {

// histograms (n_labels, x + y + z), C-contiguous int64, are added to: the caller clears them.
template <class Place, class Label, class Kernel>
void bind_histograms(py::module_& module, const char* name, Kernel kernel) {
    module.def(
        name,
        [kernel](const typename Place::Object& labels, const py::object& mask, const typename Place::Object& histograms,
                 typename Place::Argument how) {
            const auto volume = Place::template view<const Label, 3>(labels, "labels");
            View<const uint8_t, 3> voters;
            if (!mask.is_none()) {
                voters = Place::template view<const uint8_t, 3>(mask.cast<typename Place::Object>(), "mask");
                if (!std::equal(volume.shape, volume.shape + 3, voters.shape)) {
                    throw py::value_error("mask and labels differ in shape");
                }
            }
            const auto counts = Place::template view<int64_t, 2>(histograms, "histograms");
            need_contiguous(counts, "histograms");
            if (counts.shape[0] > 255 || counts.shape[1] != volume.shape[0] + volume.shape[1] + volume.shape[2]) {
                throw py::value_error("histograms must have the shape (n_labels <= 255, x + y + z)");
            }
            // Safe: the caller's arguments keep all arrays alive, and no Python object is touched.
            const py::gil_scoped_release release;
            kernel(volume, voters, static_cast<int>(counts.shape[0]), counts.data, Place::how(how));
        },
        py::arg("labels"), py::arg("mask").none(true), py::arg("histograms"), py::arg(Place::kArgument));
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
    bind_histograms<Host, uint8_t>(module, "label_histograms_uint8", label_histograms<uint8_t>);
    bind_histograms<Host, float>(module, "label_histograms_float32", label_histograms<float>);
    module.def("label_statistics", label_statistics, py::arg("histograms").noconvert(), py::arg("shape"));
#if defined(SPF_CUDA)
    bind_histograms<Device, uint8_t>(module, "label_histograms_uint8_cuda", label_histograms_cuda<uint8_t>);
    bind_histograms<Device, float>(module, "label_histograms_float32_cuda", label_histograms_cuda<float>);
#endif
}

}  // namespace spf
