// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "kernels/stitch.h"

namespace spf {
namespace {

template <class Place, class Kernel>
void bind_extract(py::module_& module, const char* name, Kernel kernel) {
    module.def(
        name,
        [kernel](const typename Place::Object& volume, const Array<int64_t>& origins, float pad_value,
                 const typename Place::Object& out, typename Place::Argument how) {
            const auto from = Place::template view<const float, 3>(volume, "volume");
            const auto to = Place::template view<float, 4>(out, "out");
            need_contiguous(to, "out");
            const int64_t* first = data_of(origins, {to.shape[0], 3}, "origins");
            // Safe: the caller's arguments keep all arrays alive, and no Python object is touched.
            const py::gil_scoped_release release;
            kernel(from, first, pad_value, to, Place::how(how));
        },
        py::arg("volume"), py::arg("origins").noconvert(), py::arg("pad_value"), py::arg("out"),
        py::arg(Place::kArgument));
}

// T and N: float (c, x, y, z) for the patches' values, uint8 (x, y, z) for the mask.
template <class Place, class T, int N, class Kernel>
void bind_stitch_to(py::module_& module, const char* name, Kernel kernel) {
    module.def(
        name,
        [kernel](const typename Place::Object& patches, const Array<int64_t>& origins, std::array<int64_t, 3> margin,
                 const typename Place::Object& out, typename Place::Argument how) {
            const auto from = Place::template view<const float, 5>(patches, "patches");
            const auto to = Place::template view<T, N>(out, "out");
            need_contiguous(from, "patches");
            if (from.shape[1] != (N == 4 ? to.shape[0] : 2)) {
                throw py::value_error("patches have another number of channels than is needed");
            }
            const int64_t* first = data_of(origins, {from.shape[0], 3}, "origins");
            const int64_t edge[3] = {margin[0], margin[1], margin[2]};
            for (const int64_t m : edge) {
                if (m < 0) throw py::value_error("margin is negative");
            }
            // Safe: the caller's arguments keep all arrays alive, and no Python object is touched.
            const py::gil_scoped_release release;
            kernel(from, first, edge, to, Place::how(how));
        },
        py::arg("patches"), py::arg("origins").noconvert(), py::arg("margin"), py::arg("out"),
        py::arg(Place::kArgument));
}

}  // namespace

void bind_stitch(py::module_& module) {
    bind_extract<Host>(module, "extract_patches", extract_patches);
    bind_stitch_to<Host, float, 4>(module, "stitch_patches", stitch_patches);
    bind_stitch_to<Host, uint8_t, 3>(module, "stitch_mask", stitch_mask);
#if defined(SPF_CUDA)
    bind_extract<Device>(module, "extract_patches_cuda", extract_patches_cuda);
    bind_stitch_to<Device, float, 4>(module, "stitch_patches_cuda", stitch_patches_cuda);
    bind_stitch_to<Device, uint8_t, 3>(module, "stitch_mask_cuda", stitch_mask_cuda);
#endif
}

}  // namespace spf
