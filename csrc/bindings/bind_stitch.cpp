// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "kernels/stitch.h"

namespace spf {
namespace {

[[noreturn]] void refuse(const Tensor& tensor, const char* name) {
    throw py::type_error(std::string(name) + ": no kernel for elements of type " + tensor.type());
}

template <class In, class Out>
void run_extract(const Tensor& volume, const Tensor& out, const Array<int64_t>& origins,
                 const Normalisation& normalisation, float pad_value, const Place& place) {
    const auto from = volume.view<const In, 3>();
    const auto to = out.view<Out, 4>();
    const int64_t* first = data_of(origins, {to.shape[0], 3}, "origins");
    // Safe: the caller keeps all tensors alive, and no Python object is touched.
    const py::gil_scoped_release release;
    SPF_RUN(place, extract_patches, from, first, normalisation, pad_value, to);
}

void bound_extract_patches(const py::object& volume, const Array<int64_t>& origins, std::array<float, 4> normalisation,
                           float pad_value, const py::object& out, int threads, std::uintptr_t stream) {
    const Tensor from(volume, "volume");
    const Tensor to(out, "out");
    const Place place(threads, stream, {&from, &to});
    to.need_contiguous();
    const Normalisation n{normalisation[0], normalisation[1], normalisation[2], normalisation[3]};
#define SPF_TRY(In, Out)                                                     \
    if (from.type() == kTypeName<In> && to.type() == kTypeName<Out>) {       \
        return run_extract<In, Out>(from, to, origins, n, pad_value, place); \
    }
    SPF_FOR_EVERY_EXTRACTION(SPF_TRY)
#undef SPF_TRY
    refuse(from, "volume");
}

// Calls body(view) with a view of the patches' element type.
template <class Body>
void visit_patches(const Tensor& patches, const Body& body) {
    patches.need_contiguous();
#define SPF_TRY(_, In) \
    if (patches.type() == kTypeName<In>) return body(patches.view<const In, 5>());
    SPF_FOR_EVERY_NETWORK_TYPE(SPF_TRY, _)
#undef SPF_TRY
    refuse(patches, "patches");
}

void need_channels(int64_t came, int64_t wanted) {
    if (came != wanted) throw py::value_error("patches have another number of channels than is needed");
}

// T and N: float (c, x, y, z) for the patches' values, (x, y, z) for what is made of two channels.
template <class T, int N, class Run>
void def_stitch(py::module_& module, const char* name, const Run& run) {
    module.def(
        name,
        [run](const py::object& patches, const Array<int64_t>& origins, std::array<int64_t, 3> margin,
              const py::object& out, int threads, std::uintptr_t stream) {
            const Tensor from(patches, "patches");
            const Tensor to(out, "out");
            const Place place(threads, stream, {&from, &to});
            const int64_t edge[3] = {margin[0], margin[1], margin[2]};
            for (const int64_t m : edge) {
                if (m < 0) throw py::value_error("margin is negative");
            }
            const auto volume = to.view<T, N>();
            visit_patches(from, [&](const auto& view) {
                need_channels(view.shape[1], N == 4 ? volume.shape[0] : 2);
                const int64_t* first = data_of(origins, {view.shape[0], 3}, "origins");
                // Safe: `from` and `to` keep the arrays alive, and no Python object is touched.
                const py::gil_scoped_release release;
                run(place, view, first, edge, volume);
            });
        },
        py::arg("patches"), py::arg("origins").noconvert(), py::arg("margin"), py::arg("out"), py::arg("threads"),
        py::arg("stream"));
}

void bound_blend_patches(const py::object& patches, const Array<int64_t>& origins, const py::object& window,
                         const py::object& total, const py::object& weight, int threads, std::uintptr_t stream) {
    const Tensor from(patches, "patches");
    const Tensor share(window, "window");
    const Tensor to(total, "total");
    const Tensor to_weight(weight, "weight");
    const Place place(threads, stream, {&from, &share, &to, &to_weight});
    share.need_contiguous();
    const auto window_view = share.view<const float, 3>();
    const auto total_view = to.view<float, 4>();
    const auto weight_view = to_weight.view<float, 3>();
    visit_patches(from, [&](const auto& view) {
        need_channels(view.shape[1], total_view.shape[0]);
        for (int axis = 0; axis < 3; ++axis) {
            if (window_view.shape[axis] != view.shape[2 + axis] ||
                total_view.shape[1 + axis] != weight_view.shape[axis]) {
                throw py::value_error("window and patches, or total and weight, differ in shape");
            }
        }
        const int64_t* first = data_of(origins, {view.shape[0], 3}, "origins");
        // Safe: the tensors keep the arrays alive, and no Python object is touched.
        const py::gil_scoped_release release;
        SPF_RUN(place, blend_patches, view, first, window_view, total_view, weight_view);
    });
}

}  // namespace

void bind_stitch(py::module_& module) {
    module.def("extract_patches", bound_extract_patches, py::arg("volume"), py::arg("origins").noconvert(),
               py::arg("normalisation"), py::arg("pad_value"), py::arg("out"), py::arg("threads"), py::arg("stream"));
#define SPF_STITCH(kernel) [](const Place& place, const auto&... args) { SPF_RUN(place, kernel, args...); }
    def_stitch<float, 4>(module, "stitch_patches", SPF_STITCH(stitch_patches));
    def_stitch<uint8_t, 3>(module, "stitch_mask", SPF_STITCH(stitch_mask));
    def_stitch<float, 3>(module, "stitch_probability", SPF_STITCH(stitch_probability));
#undef SPF_STITCH
    module.def("blend_patches", bound_blend_patches, py::arg("patches"), py::arg("origins").noconvert(),
               py::arg("window"), py::arg("total"), py::arg("weight"), py::arg("threads"), py::arg("stream"));
}

}  // namespace spf
