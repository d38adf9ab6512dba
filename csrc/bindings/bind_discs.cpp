// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bindings/arrays.h"
#include "kernels/discs.h"

namespace spf {
namespace {

using CropOf = std::optional<Array<int64_t>>;

const int64_t* numbers_of(const CropOf& crop_of, int64_t m) {
    return crop_of ? data_of(*crop_of, {m}, "crop_of") : nullptr;
}

void bound_rasterize_disc_crops(const py::object& out, const Array<int64_t>& origins, const Array<double>& segments_vox,
                                const Array<double>& radii_mm, const Array<uint8_t>& values,
                                std::array<double, 3> spacing_mm, const CropOf& crop_of, int threads,
                                std::uintptr_t stream) {
    const Tensor to(out, "out");
    const Place place(threads, stream, {&to});
    const auto crops = to.view<uint8_t, 4>();
    const Spacing spacing{spacing_mm[0], spacing_mm[1], spacing_mm[2]};
    const int64_t m = radii_mm.size();
    const std::vector<Disc> discs =
        make_discs(data_of(segments_vox, {m, 2, 3}, "segments_vox"), data_of(radii_mm, {m}, "radii_mm"),
                   data_of(values, {m}, "values"), numbers_of(crop_of, m), m, spacing, crops,
                   data_of(origins, {crops.shape[0], 3}, "origins"));
    // Safe: `to` keeps the crops alive, the discs are our own, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, rasterize_discs, crops, discs, spacing);
}

void bound_rasterize_sphere_crops(const py::object& out, const Array<int64_t>& origins,
                                  const Array<double>& centres_vox, const Array<double>& radii_mm,
                                  const Array<uint8_t>& values, std::array<double, 3> spacing_mm, const CropOf& crop_of,
                                  int threads, std::uintptr_t stream) {
    const Tensor to(out, "out");
    const Place place(threads, stream, {&to});
    const auto crops = to.view<uint8_t, 4>();
    const Spacing spacing{spacing_mm[0], spacing_mm[1], spacing_mm[2]};
    const int64_t m = radii_mm.size();
    const std::vector<Sphere> spheres = make_spheres(
        data_of(centres_vox, {m, 3}, "centres_vox"), data_of(radii_mm, {m}, "radii_mm"), data_of(values, {m}, "values"),
        numbers_of(crop_of, m), m, spacing, crops, data_of(origins, {crops.shape[0], 3}, "origins"));
    // Safe: `to` keeps the crops alive, the spheres are our own, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, rasterize_spheres, crops, spheres, spacing);
}

}  // namespace

void bind_discs(py::module_& module) {
    module.def("rasterize_disc_crops", bound_rasterize_disc_crops, py::arg("out"), py::arg("origins").noconvert(),
               py::arg("segments_vox").noconvert(), py::arg("radii_mm").noconvert(), py::arg("values").noconvert(),
               py::arg("spacing_mm"), py::arg("crop_of").noconvert(), py::arg("threads"), py::arg("stream"));
    module.def("rasterize_sphere_crops", bound_rasterize_sphere_crops, py::arg("out"), py::arg("origins").noconvert(),
               py::arg("centres_vox").noconvert(), py::arg("radii_mm").noconvert(), py::arg("values").noconvert(),
               py::arg("spacing_mm"), py::arg("crop_of").noconvert(), py::arg("threads"), py::arg("stream"));
}

}  // namespace spf
