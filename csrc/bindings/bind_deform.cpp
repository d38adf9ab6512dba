// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "bindings/arrays.h"
#include "kernels/deform.h"

namespace spf {
namespace {

DisplacementField field_of(const Array<double>& displacement, const std::array<int64_t, 3>& shape,
                           const std::array<int64_t, 3>& lo, const std::array<int64_t, 3>& hi) {
    if (displacement.ndim() != 4 || displacement.shape(0) < 1 || displacement.shape(0) > 3) {
        throw py::value_error("displacement must have the shape (axes, points, points, points)");
    }
    DisplacementField field;
    field.axes = static_cast<int>(displacement.shape(0));
    for (size_t a = 0; a < 3; ++a) {
        const int64_t points = displacement.shape(static_cast<py::ssize_t>(a) + 1);
        const bool deformed = static_cast<int>(a) >= 3 - field.axes;
        if (shape[a] > std::numeric_limits<int32_t>::max() || points < 1 || lo[a] < 0 || lo[a] > hi[a] ||
            hi[a] > shape[a] || (!deformed && (shape[a] != 1 || points != 1))) {
            throw py::value_error("shape, crop and displacement do not fit");
        }
        field.shape[a] = shape[a];
        field.points[a] = points;
        field.crop.lo[a] = lo[a];
        field.crop.hi[a] = hi[a];
    }
    return field;
}

template <class T>
Deformed<T> deformed(const DisplacementField& field, const Tensor& image, const Tensor& out, int order, int border,
                     double cval) {
    if (!(order == 0 || order == 1 || (order == 3 && sizeof(T) == 4))) throw py::value_error("no such order");
    if (border < 0 || border > static_cast<int>(Border::kConstant)) throw py::value_error("no such border");
    const Deformed<T> pair{image.view<const T, 6>(), out.view<T, 6>(), order, static_cast<Border>(border),
                           to_voxel<T>(cval)};
    for (int axis = 0; axis < 3; ++axis) {
        if (pair.out.shape[axis] != pair.image.shape[axis] || pair.image.shape[axis + 3] != field.shape[axis] ||
            pair.out.shape[axis + 3] != field.crop.extent(axis)) {
            throw py::value_error("image and out do not fit the shape and the crop");
        }
    }
    return pair;
}

// Images and outs have six axes: three that are carried along, then three of the field, of which the leading ones have
// one voxel where fewer are deformed. `empty` makes a float32 array of so many elements where the images are.
void bound_deform_grid(const std::vector<py::object>& images, const std::vector<py::object>& outs,
                       const std::vector<int>& order, const std::vector<int>& border, const std::vector<double>& cval,
                       const Array<double>& displacement, const std::array<int64_t, 3>& shape,
                       const std::array<int64_t, 3>& lo, const std::array<int64_t, 3>& hi, const py::function& empty,
                       int threads, std::uintptr_t stream) {
    const size_t n = images.size();
    if (n == 0 || outs.size() != n || order.size() != n || border.size() != n || cval.size() != n) {
        throw py::value_error("every image needs its out, order, border and cval");
    }
    DisplacementField field = field_of(displacement, shape, lo, hi);
    const double* points =
        data_of(displacement, {field.axes, field.points[0], field.points[1], field.points[2]}, "displacement");
    std::vector<Tensor> tensors;
    std::vector<Deformed<float>> floats;
    std::vector<Deformed<uint8_t>> bytes;
    for (size_t i = 0; i < n; ++i) {
        tensors.emplace_back(images[i], "image");
        tensors.emplace_back(outs[i], "out");
        const Tensor& image = tensors[2 * i];
        const Tensor& out = tensors[2 * i + 1];
        if (image.type() == kTypeName<uint8_t>) {
            bytes.push_back(deformed<uint8_t>(field, image, out, order[i], border[i], cval[i]));
        } else {
            floats.push_back(deformed<float>(field, image, out, order[i], border[i], cval[i]));
        }
    }
    const std::vector<double> coefficients = displacement_spline(points, field);
    field.coefficients = coefficients.data();
    const int64_t size = deform_scratch(field, floats);
    tensors.emplace_back(empty(size), "scratch");
    const auto scratch = tensors.back().view<float, 1>();
    tensors.back().need_contiguous();
    if (scratch.shape[0] != size) throw py::value_error("scratch has another size than is needed");
    for (const Tensor& tensor : tensors) Place(threads, stream, {&tensors.front(), &tensor});
    const Place place(threads, stream, {&tensors.front()});
    // Safe: the tensors keep all arrays alive, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, deform_grid, field, floats, bytes, scratch.data);
}

}  // namespace

void bind_deform(py::module_& module) {
    module.def("deform_grid", bound_deform_grid, py::arg("images"), py::arg("outs"), py::arg("order"),
               py::arg("border"), py::arg("cval"), py::arg("displacement").noconvert(), py::arg("shape"), py::arg("lo"),
               py::arg("hi"), py::arg("empty"), py::arg("threads"), py::arg("stream"));
}

}  // namespace spf
