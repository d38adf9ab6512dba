// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "kernels/discs.h"

namespace spf {
namespace {

template <class Place, class Kernel>
void bind_rasterize_discs(py::module_& module, const char* name, Kernel kernel) {
    module.def(
        name,
        [kernel](const typename Place::Object& out, const Array<double>& segments_vox, const Array<double>& radii_mm,
                 const Array<uint8_t>& values, std::array<double, 3> spacing_mm, typename Place::Argument how) {
            const auto volume = Place::template view<uint8_t, 3>(out, "out");
            const Spacing spacing{spacing_mm[0], spacing_mm[1], spacing_mm[2]};
            const int64_t n = radii_mm.size();
            const std::vector<Disc> discs =
                make_discs(data_of(segments_vox, {n, 2, 3}, "segments_vox"), data_of(radii_mm, {n}, "radii_mm"),
                           data_of(values, {n}, "values"), n, spacing, volume.shape);
            // Safe: the caller's arguments keep `out` alive, the discs are our own, and no Python object is touched.
            const py::gil_scoped_release release;
            kernel(volume, discs, spacing, Place::how(how));
        },
        py::arg("out"), py::arg("segments_vox").noconvert(), py::arg("radii_mm").noconvert(),
        py::arg("values").noconvert(), py::arg("spacing_mm"), py::arg(Place::kArgument));
}

template <class Place, class Kernel>
void bind_rasterize_spheres(py::module_& module, const char* name, Kernel kernel) {
    module.def(
        name,
        [kernel](const typename Place::Object& out, const Array<double>& centres_vox, const Array<double>& radii_mm,
                 const Array<uint8_t>& values, std::array<double, 3> spacing_mm, typename Place::Argument how) {
            const auto volume = Place::template view<uint8_t, 3>(out, "out");
            const Spacing spacing{spacing_mm[0], spacing_mm[1], spacing_mm[2]};
            const int64_t n = radii_mm.size();
            const std::vector<Sphere> spheres =
                make_spheres(data_of(centres_vox, {n, 3}, "centres_vox"), data_of(radii_mm, {n}, "radii_mm"),
                             data_of(values, {n}, "values"), n, spacing, volume.shape);
            // Safe: the caller's arguments keep `out` alive, the spheres are our own, and no Python object is touched.
            const py::gil_scoped_release release;
            kernel(volume, spheres, spacing, Place::how(how));
        },
        py::arg("out"), py::arg("centres_vox").noconvert(), py::arg("radii_mm").noconvert(),
        py::arg("values").noconvert(), py::arg("spacing_mm"), py::arg(Place::kArgument));
}

}  // namespace

void bind_discs(py::module_& module) {
    bind_rasterize_discs<Host>(module, "rasterize_discs", rasterize_discs);
    bind_rasterize_spheres<Host>(module, "rasterize_spheres", rasterize_spheres);
#if defined(SPF_CUDA)
    bind_rasterize_discs<Device>(module, "rasterize_discs_cuda", rasterize_discs_cuda);
    bind_rasterize_spheres<Device>(module, "rasterize_spheres_cuda", rasterize_spheres_cuda);
#endif
}

}  // namespace spf
