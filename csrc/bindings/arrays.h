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
#include <vector>

#include "bindings/dlpack.h"
#include "support/element.h"
#include "support/view.h"

namespace spf {

namespace py = pybind11;

/// Small NumPy argument of exactly this type: declared `noconvert`, so nothing is cast or copied on the way in.
template <class T>
using Array = py::array_t<T, 0>;

/// Element types, written as NumPy's typestr without the byte order; bfloat16, which NumPy lacks, is "b2".
template <class T>
constexpr const char* kTypeName = nullptr;
template <>
inline constexpr const char* kTypeName<uint8_t> = "u1";
template <>
inline constexpr const char* kTypeName<int8_t> = "i1";
template <>
inline constexpr const char* kTypeName<uint16_t> = "u2";
template <>
inline constexpr const char* kTypeName<int16_t> = "i2";
template <>
inline constexpr const char* kTypeName<int32_t> = "i4";
template <>
inline constexpr const char* kTypeName<int64_t> = "i8";
template <>
inline constexpr const char* kTypeName<Half> = "f2";
template <>
inline constexpr const char* kTypeName<Bfloat16> = "b2";
template <>
inline constexpr const char* kTypeName<float> = "f4";
template <>
inline constexpr const char* kTypeName<double> = "f8";

/// A large argument wherever it lives: a NumPy array by its buffer, any other (a torch tensor) by DLPack.
///
/// Keeps the memory alive while it exists; make and end it with the GIL held. Nothing is copied or converted.
class Tensor {
  public:
    /// Throws TypeError for what is no array, ValueError for another memory layout than whole strides.
    Tensor(const py::object& object, const char* name) : name_(name) {
        if (py::isinstance<py::array>(object)) {
            look_at(py::reinterpret_borrow<py::array>(object));
        } else if (py::hasattr(object, "__dlpack__")) {
            look_at_capsule(object);
        } else {
            throw py::type_error(name_ + ": an array is needed");
        }
    }

    const std::string& type() const { return type_; }
    bool on_cuda() const { return on_cuda_; }
    bool is_contiguous() const {
        int64_t size = 1;
        bool contiguous = true;
        for (size_t axis = shape_.size(); axis-- > 0;) {
            contiguous = contiguous && (shape_[axis] == 1 || stride_[axis] == size);
            size *= shape_[axis];
        }
        return size == 0 || contiguous;  // strides of what holds no two elements do not count
    }
    /// Throws ValueError.
    void need_contiguous() const {
        if (!is_contiguous()) throw py::value_error(name_ + " must be C-contiguous");
    }

    /// Throws TypeError for another element type, ValueError for another number of axes, or for a read-only array where
    /// T is not const.
    template <class T, int N>
    View<T, N> view() const {
        if (type_ != kTypeName<std::remove_const_t<T>>) {
            throw py::type_error(name_ + ": another element type is needed");
        }
        if (shape_.size() != N) throw py::value_error(name_ + ": another number of axes is needed");
        if (!std::is_const_v<T> && read_only_) throw py::value_error(name_ + " is read-only");
        View<T, N> view;
        view.data = static_cast<T*>(data_);
        for (size_t axis = 0; axis < N; ++axis) {
            view.shape[axis] = shape_[axis];
            view.stride[axis] = stride_[axis];
        }
        return view;
    }

  private:
    void look_at(const py::array& array) {
        const py::dtype dtype = array.dtype();
        if (dtype.byteorder() == '>') throw py::type_error(name_ + ": the native byte order is needed");
        type_ = std::string(1, dtype.kind()) + std::to_string(dtype.itemsize());
        data_ = const_cast<void*>(array.data());
        read_only_ = !array.writeable();
        const py::ssize_t size = dtype.itemsize();
        for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
            // A field of a structured array has bytes between its elements that are no whole elements.
            if (size == 0 || array.strides(axis) % size != 0) {
                throw py::value_error(name_ + " has strides that are no whole elements; pass a copy");
            }
            shape_.push_back(array.shape(axis));
            stride_.push_back(array.strides(axis) / size);
        }
        if (size > 0 && reinterpret_cast<std::uintptr_t>(data_) % static_cast<std::uintptr_t>(size) != 0) {
            throw py::value_error(name_ + " is not aligned to its elements; pass a copy");
        }
        keep_ = array;
    }

    void look_at_capsule(const py::object& object) {
        // -1: no synchronisation, the work is queued on the stream that the caller works on. The capsule is not taken
        // over: it frees the export when it goes, with this object.
        keep_ = object.attr("__dlpack__")(py::arg("stream") = -1, py::arg("max_version") = py::make_tuple(1, 0));
        if (PyCapsule_IsValid(keep_.ptr(), dlpack::kCapsuleName) == 0) {
            throw py::type_error(name_ + ": DLPack 1 is needed; a newer library of this array gives it");
        }
        const auto* managed =
            static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(keep_.ptr(), dlpack::kCapsuleName));
        const dlpack::Tensor& tensor = managed->tensor;
        const dlpack::DeviceType place = tensor.device.type;
        on_cuda_ = place == dlpack::kCuda || place == dlpack::kCudaManaged;
        if (managed->major != dlpack::kMajorVersion || tensor.dtype.lanes != 1 || tensor.dtype.bits % 8 != 0 ||
            !(on_cuda_ || place == dlpack::kCpu || place == dlpack::kCudaHost)) {
            throw py::type_error(name_ + ": a plain array in host or CUDA memory is needed");
        }
        type_ = kind_of(tensor.dtype.code) + std::to_string(tensor.dtype.bits / 8);
        data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
        read_only_ = (managed->flags & dlpack::kReadOnly) != 0;
        shape_.assign(tensor.shape, tensor.shape + tensor.ndim);
        if (tensor.strides != nullptr) {
            stride_.assign(tensor.strides, tensor.strides + tensor.ndim);
        } else {
            stride_.assign(shape_.size(), 1);
            for (size_t axis = shape_.size(); axis-- > 1;) stride_[axis - 1] = stride_[axis] * shape_[axis];
        }
    }

    static std::string kind_of(dlpack::TypeCode code) {
        switch (code) {
            case dlpack::kInt:
                return "i";
            case dlpack::kUInt:
                return "u";
            case dlpack::kFloat:
                return "f";
            case dlpack::kBfloat:
                return "b";
            default:
                return "?";  // bool and complex: no kernel takes them
        }
    }

    std::string name_;
    std::string type_;
    void* data_ = nullptr;
    std::vector<int64_t> shape_;
    std::vector<int64_t> stride_;
    bool read_only_ = false;
    bool on_cuda_ = false;
    py::object keep_;
};

/// Where a call runs and how: in host memory on so many threads, or in device memory on a CUDA stream.
struct Place {
    /// Throws ValueError where some tensors are in host memory and some on a device.
    Place(int threads_wanted, std::uintptr_t cuda_stream, std::initializer_list<const Tensor*> tensors)
        : threads(threads_wanted), stream(reinterpret_cast<void*>(cuda_stream)) {
        on_cuda = (*tensors.begin())->on_cuda();
        for (const Tensor* tensor : tensors) {
            if (tensor->on_cuda() != on_cuda) throw py::value_error("arrays are in host and in device memory");
        }
#if !defined(SPF_CUDA)
        if (on_cuda) throw std::runtime_error("this build has no CUDA kernels; pass arrays in host memory");
#endif
    }

    int threads;
    void* stream;
    bool on_cuda;
};

// Calls the form of a kernel that belongs to the place: k(..., threads), or k_cuda(..., stream), a symbol that builds
// without CUDA lack.
#if defined(SPF_CUDA)
#define SPF_RUN(place, kernel, ...) \
    ((place).on_cuda ? kernel##_cuda(__VA_ARGS__, (place).stream) : kernel(__VA_ARGS__, (place).threads))
#else
#define SPF_RUN(place, kernel, ...) kernel(__VA_ARGS__, (place).threads)
#endif

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
void bind_deform(py::module_& module);
void bind_resample(py::module_& module);

}  // namespace spf
