// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "kernels/discs.h"

namespace spf {
namespace {

void bound_rasterize_discs(const py::object& out, const Array<double>& segments_vox, const Array<double>& radii_mm,
                           const Array<uint8_t>& values, std::array<double, 3> spacing_mm, int threads,
                           std::uintptr_t stream) {
    const Tensor to(out, "out");
    const Place place(threads, stream, {&to});
    const auto volume = to.view<uint8_t, 3>();
    const Spacing spacing{spacing_mm[0], spacing_mm[1], spacing_mm[2]};
    const int64_t n = radii_mm.size();
    const std::vector<Disc> discs =
        make_discs(data_of(segments_vox, {n, 2, 3}, "segments_vox"), data_of(radii_mm, {n}, "radii_mm"),
                   data_of(values, {n}, "values"), n, spacing, volume.shape);
    // Safe: `to` keeps the volume alive, the discs are our own, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, rasterize_discs, volume, discs, spacing);
}

void bound_rasterize_spheres(const py::object& out, const Array<double>& centres_vox, const Array<double>& radii_mm,
                             const Array<uint8_t>& values, std::array<double, 3> spacing_mm, int threads,
                             std::uintptr_t stream) {
    const Tensor to(out, "out");
    const Place place(threads, stream, {&to});
    const auto volume = to.view<uint8_t, 3>();
    const Spacing spacing{spacing_mm[0], spacing_mm[1], spacing_mm[2]};
    const int64_t n = radii_mm.size();
    const std::vector<Sphere> spheres =
        make_spheres(data_of(centres_vox, {n, 3}, "centres_vox"), data_of(radii_mm, {n}, "radii_mm"),
                     data_of(values, {n}, "values"), n, spacing, volume.shape);
    // Safe: `to` keeps the volume alive, the spheres are our own, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, rasterize_spheres, volume, spheres, spacing);
}

}  // namespace

void bind_discs(py::module_& module) {
    module.def("rasterize_discs", bound_rasterize_discs, py::arg("out"), py::arg("segments_vox").noconvert(),
               py::arg("radii_mm").noconvert(), py::arg("values").noconvert(), py::arg("spacing_mm"),
               py::arg("threads"), py::arg("stream"));
    module.def("rasterize_spheres", bound_rasterize_spheres, py::arg("out"), py::arg("centres_vox").noconvert(),
               py::arg("radii_mm").noconvert(), py::arg("values").noconvert(), py::arg("spacing_mm"),
               py::arg("threads"), py::arg("stream"));
}

}  // namespace spf
