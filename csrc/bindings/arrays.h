// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "support/view.h"

namespace spf {

namespace py = pybind11;

/// NumPy array of exactly this type: declared `noconvert`, so nothing is cast or copied on the way in.
template <class T>
using Array = py::array_t<T, 0>;

/// View of a NumPy array. A view of a non-const type needs a writeable array.
/// Throws ValueError for another number of axes, for a read-only array, and for bytes between the elements that are no
/// whole elements (a field of a structured array).
template <class T, int N>
View<T, N> view_of(const py::array& array, const char* name) {
    if (array.ndim() != N) throw py::value_error(std::string(name) + " needs " + std::to_string(N) + " axes");
    if (!std::is_const_v<T> && !array.writeable()) throw py::value_error(std::string(name) + " is read-only");
    View<T, N> view;
    view.data = static_cast<T*>(const_cast<void*>(array.data()));
    for (int axis = 0; axis < N; ++axis) {
        view.shape[axis] = array.shape(axis);
        if (array.strides(axis) % static_cast<py::ssize_t>(sizeof(T)) != 0) {
            throw py::value_error(std::string(name) + " has strides that are no whole elements; pass a copy");
        }
        view.stride[axis] = array.strides(axis) / static_cast<py::ssize_t>(sizeof(T));
    }
    return view;
}

/// View of a device array by its __cuda_array_interface__.
template <class T, int N>
View<T, N> device_view_of(const py::object& array, const char* name) {
    const auto wrong = [&](const char* what) { return py::value_error(std::string(name) + ": " + what); };
    const py::dict interface = array.attr("__cuda_array_interface__");
    if (!py::dtype::of<std::remove_const_t<T>>().equal(py::dtype(py::str(interface["typestr"])))) {
        throw py::type_error(std::string(name) + ": another element type is needed");
    }
    const py::tuple shape = interface["shape"];
    const py::tuple data = interface["data"];
    if (shape.size() != N) throw wrong("another number of axes is needed");
    if (!std::is_const_v<T> && data[1].cast<bool>()) throw wrong("is read-only");
    View<T, N> view;
    view.data = reinterpret_cast<T*>(data[0].cast<std::uintptr_t>());
    int64_t stride = 1;
    for (int axis = N - 1; axis >= 0; --axis) {
        view.shape[axis] = shape[static_cast<size_t>(axis)].cast<int64_t>();
        view.stride[axis] = stride;
        stride *= view.shape[axis];
    }
    if (interface.contains("strides") && !interface["strides"].is_none()) {
        const py::tuple strides = interface["strides"];
        for (int axis = 0; axis < N; ++axis) {
            const auto bytes = strides[static_cast<size_t>(axis)].cast<int64_t>();
            if (bytes % static_cast<int64_t>(sizeof(T)) != 0) throw wrong("has strides that are no whole elements");
            view.stride[axis] = bytes / static_cast<int64_t>(sizeof(T));
        }
    }
    return view;
}

/// The two places where arrays live. Each form of a kernel is bound by the same lines: a place knows how to look at an
/// array, and what says how to run: the number of threads, or the CUDA stream.
struct Host {
    using Object = py::array;
    using Argument = int;
    static constexpr const char* kArgument = "threads";

    template <class T, int N>
    static View<T, N> view(const Object& array, const char* name) {
        if (!py::isinstance<Array<std::remove_const_t<T>>>(array)) {
            throw py::type_error(std::string(name) + ": another element type is needed");
        }
        return view_of<T, N>(array, name);
    }
    static int how(Argument threads) { return threads; }
};

struct Device {
    using Object = py::object;
    using Argument = std::uintptr_t;
    static constexpr const char* kArgument = "stream";

    template <class T, int N>
    static View<T, N> view(const Object& array, const char* name) {
        return device_view_of<T, N>(array, name);
    }
    static void* how(Argument stream) { return reinterpret_cast<void*>(stream); }
};

/// Throws ValueError for a view with gaps or another order of axes. Strides of what holds no two elements do not count.
template <class T, int N>
void need_contiguous(const View<T, N>& view, const char* name) {
    int64_t size = 1;
    bool contiguous = true;
    for (int axis = N - 1; axis >= 0; --axis) {
        contiguous = contiguous && (view.shape[axis] == 1 || view.stride[axis] == size);
        size *= view.shape[axis];
    }
    if (size != 0 && !contiguous) throw py::value_error(std::string(name) + " must be C-contiguous");
}

/// Small C-contiguous argument in host memory, with this shape. Throws ValueError.
template <class T>
const T* data_of(const Array<T>& array, std::initializer_list<int64_t> shape, const char* name) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const int64_t side : shape) fits = fits && array.shape(axis++) == side;
    if (!fits) throw py::value_error(std::string(name) + " has another shape than is needed");
    if ((array.flags() & py::array::c_style) == 0) throw py::value_error(std::string(name) + " must be C-contiguous");
    return array.data();
}

void bind_discs(py::module_& module);
void bind_stitch(py::module_& module);
void bind_medians(py::module_& module);

}  // namespace spf
