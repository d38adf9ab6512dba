// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "kernels/resample.h"

namespace spf {
namespace {

using Firsts = std::array<Array<int64_t>, 3>;
using Weights = std::array<Array<float>, 3>;

template <class In>
void run_resample(const Tensor& volume, const Tensor& out, const Firsts& firsts, const Weights& weights, int threads) {
    const auto from = volume.view<const In, 3>();
    const auto to = out.view<float, 3>();
    Taps taps[3];
    for (size_t axis = 0; axis < 3; ++axis) {
        const Array<float>& weight = weights[axis];
        const int64_t rows = to.shape[axis];
        const int64_t width = weight.ndim() == 2 ? weight.shape(1) : 0;
        taps[axis] = {data_of(firsts[axis], {rows}, "first"), data_of(weight, {rows, width}, "weight"), width};
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t k = 0; k < width; ++k) {
                const int64_t at = taps[axis].first[i] + k;
                if (taps[axis].weight[i * width + k] != 0.0F && (at < 0 || at >= from.shape[axis])) {
                    throw py::value_error("taps reach beyond the volume");
                }
            }
        }
    }
    // Safe: the caller keeps all arrays alive, and no Python object is touched.
    const py::gil_scoped_release release;
    resample(from, taps, to, threads);
}

void bound_resample(const py::object& volume, const Firsts& firsts, const Weights& weights, const py::object& out,
                    int threads) {
    const Tensor from(volume, "volume");
    const Tensor to(out, "out");
    if (from.on_cuda() || to.on_cuda())
        throw std::runtime_error("resample has no CUDA kernel; pass arrays in host memory");
#define SPF_TRY(In) \
    if (from.type() == kTypeName<In>) return run_resample<In>(from, to, firsts, weights, threads);
    SPF_FOR_EVERY_RESAMPLING(SPF_TRY)
#undef SPF_TRY
    throw py::type_error("volume: no kernel for elements of type " + from.type());
}

}  // namespace

void bind_resample(py::module_& module) {
    module.def("resample", bound_resample, py::arg("volume"), py::arg("firsts"), py::arg("weights"), py::arg("out"),
               py::arg("threads"));
}

}  // namespace spf
