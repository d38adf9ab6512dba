// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "bindings/arrays.h"
#include "kernels/medians.h"

namespace spf {
namespace {

// Throws ValueError unless counts are (n_labels <= 255, x + y + z + 3), C-contiguous.
VoteCounts counts_of(const Tensor& counts, const std::array<int64_t, 3>& shape) {
    const auto rows = counts.view<int64_t, 2>();
    counts.need_contiguous();
    const VoteCounts result{rows.data, static_cast<int>(rows.shape[0]), {shape[0], shape[1], shape[2]}};
    if (std::any_of(shape.begin(), shape.end(), [](int64_t side) { return side < 0; }) || rows.shape[0] > 255 ||
        rows.shape[1] != result.width()) {
        throw py::value_error("counts must have the shape (n_labels <= 255, x + y + z + 3)");
    }
    return result;
}

template <class T, int N>
T* data_of(const Tensor& tensor, const int64_t (&shape)[N], const char* name) {
    const auto view = tensor.view<T, N>();
    tensor.need_contiguous();
    if (!std::equal(shape, shape + N, view.shape)) throw py::value_error(std::string(name) + " has another shape");
    return view.data;
}

template <class Label>
void count(const Tensor& labels, const View<const uint8_t, 3>& mask, const std::array<int64_t, 3>& first,
           const VoteCounts& counts, const Place& place) {
    const auto box = labels.view<const Label, 3>();
    if (mask.data != nullptr && !std::equal(box.shape, box.shape + 3, mask.shape)) {
        throw py::value_error("mask and labels differ in shape");
    }
    for (size_t axis = 0; axis < 3; ++axis) {
        if (first[axis] < 0 || first[axis] > counts.shape[axis] - box.shape[axis]) {
            throw py::value_error("the labels leave the volume");
        }
    }
    const int64_t at[3] = {first[0], first[1], first[2]};
    // Safe: the caller keeps all tensors alive, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, count_votes, box, mask, at, counts);
}

// counts, int64, are added to: the caller clears them.
void bound_count_votes(const py::object& labels, const py::object& mask, std::array<int64_t, 3> first,
                       std::array<int64_t, 3> shape, const py::object& counts, int threads, std::uintptr_t stream) {
    const Tensor box(labels, "labels");
    const Tensor voters(mask.is_none() ? labels : mask, "mask");
    const Tensor to(counts, "counts");
    const Place place(threads, stream, {&box, &voters, &to});
    const auto mask_view = mask.is_none() ? View<const uint8_t, 3>{} : voters.view<const uint8_t, 3>();
    if (box.type() == kTypeName<uint8_t>) {
        count<uint8_t>(box, mask_view, first, counts_of(to, shape), place);
    } else {
        count<float>(box, mask_view, first, counts_of(to, shape), place);
    }
}

void bound_vote_statistics(const py::object& counts, std::array<int64_t, 3> shape, const py::object& votes,
                           const py::object& quantiles, const py::object& bounds, int threads, std::uintptr_t stream) {
    const Tensor from(counts, "counts"), to_votes(votes, "votes"), to_quantiles(quantiles, "quantiles"),
        to_bounds(bounds, "bounds");
    const Place place(threads, stream, {&from, &to_votes, &to_quantiles, &to_bounds});
    const VoteCounts all = counts_of(from, shape);
    const VoteStatistics out{data_of<int64_t, 1>(to_votes, {all.n_labels}, "votes"),
                             data_of<double, 3>(to_quantiles, {3, all.n_labels, 3}, "quantiles"),
                             data_of<int64_t, 3>(to_bounds, {2, all.n_labels, 3}, "bounds")};
    // Safe: the caller keeps all tensors alive, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, vote_statistics, all, out);
}

}  // namespace

void bind_medians(py::module_& module) {
    module.def("count_votes", bound_count_votes, py::arg("labels"), py::arg("mask").none(true), py::arg("first"),
               py::arg("shape"), py::arg("counts"), py::arg("threads"), py::arg("stream"));
    module.def("vote_statistics", bound_vote_statistics, py::arg("counts"), py::arg("shape"), py::arg("votes"),
               py::arg("quantiles"), py::arg("bounds"), py::arg("threads"), py::arg("stream"));
}

}  // namespace spf
