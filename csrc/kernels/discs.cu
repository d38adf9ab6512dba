// SPDX-License-Identifier: Apache-2.0
#include "kernels/discs.h"
#include "support/error.h"
#include "support/launch.cuh"

namespace spf {
namespace {

struct Clear {
    Volume8 out;
    Box box;

    __device__ void operator()(int64_t index) const {
        const Voxel v = voxel_of(box, index);
        out(v.i, v.j, v.k) = 0;
    }
};

template <class Shape>
struct Paint {
    Volume8 out;
    Shape shape;
    Spacing spacing;

    __device__ void operator()(int64_t index) const {
        const Voxel v = voxel_of(shape.box, index);
        if (covers(shape, spacing, v.i, v.j, v.k)) out(v.i, v.j, v.k) = shape.value;
    }
};

int64_t size_of(const Box& box) { return checked_product({box.extent(0), box.extent(1), box.extent(2)}); }

// One launch per shape: the stream keeps their order, so a later shape overwrites an earlier one.
template <class Shape>
void rasterize(const Volume8& out, const std::vector<Shape>& shapes, const Spacing& spacing, void* stream) {
    if (whole(out).empty()) return;
    const DeviceOf device(out.data);
    const Volume8 in_memory_order = permuted(out, memory_order(out));
    for_each(size_of(whole(out)), stream, Clear{in_memory_order, whole(in_memory_order)});
    for (const Shape& shape : shapes) for_each(size_of(shape.box), stream, Paint<Shape>{out, shape, spacing});
}

}  // namespace

void rasterize_discs_cuda(const Volume8& out, const std::vector<Disc>& discs, const Spacing& spacing, void* stream) {
    rasterize(out, discs, spacing, stream);
}

void rasterize_spheres_cuda(const Volume8& out, const std::vector<Sphere>& spheres, const Spacing& spacing,
                            void* stream) {
    rasterize(out, spheres, spacing, stream);
}

}  // namespace spf
