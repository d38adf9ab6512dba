// SPDX-License-Identifier: Apache-2.0
#include "kernels/stitch.h"
#include "support/error.h"
#include "support/launch.cuh"

namespace spf {
namespace {

struct Extract {
    View<const float, 3> volume;
    int64_t origin[3];
    float pad_value;
    View<float, 4> out;
    int64_t patch;

    __device__ void operator()(int64_t index) const {
        const Voxel v = voxel_of({{0, 0, 0}, {out.shape[1], out.shape[2], out.shape[3]}}, index);
        const int64_t x = origin[0] + v.i;
        const int64_t y = origin[1] + v.j;
        const int64_t z = origin[2] + v.k;
        const bool inside =
            x >= 0 && x < volume.shape[0] && y >= 0 && y < volume.shape[1] && z >= 0 && z < volume.shape[2];
        out(patch, v.i, v.j, v.k) = inside ? volume(x, y, z) : pad_value;
    }
};

struct Stitch {
    View<const float, 5> patches;
    int64_t patch;
    int64_t origin[3];
    Box box;
    View<float, 4> out;

    __device__ void operator()(int64_t index) const {
        const Voxel v = voxel_of(box, index);
        for (int64_t channel = 0; channel < out.shape[0]; ++channel) {
            out(channel, v.i, v.j, v.k) = patches(patch, channel, v.i - origin[0], v.j - origin[1], v.k - origin[2]);
        }
    }
};

struct StitchMask {
    View<const float, 5> patches;
    int64_t patch;
    int64_t origin[3];
    Box box;
    View<uint8_t, 3> out;

    __device__ void operator()(int64_t index) const {
        const Voxel v = voxel_of(box, index);
        const int64_t x = v.i - origin[0];
        const int64_t y = v.j - origin[1];
        const int64_t z = v.k - origin[2];
        out(v.i, v.j, v.k) = foreground(patches(patch, 0, x, y, z), patches(patch, 1, x, y, z));
    }
};

// One launch per patch: the stream keeps their order, so the last patch wins where centres overlap.
template <class Body, class Out>
void stitch(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3], const Out& out,
            const int64_t* shape, void* stream) {
    for (int64_t p = 0; p < patches.shape[0]; ++p) {
        const int64_t* origin = origins + 3 * p;
        const Box box = centre_inside(origin, patches.shape + 2, margin, shape);
        const int64_t voxels = checked_product({box.extent(0), box.extent(1), box.extent(2)});
        for_each(voxels, stream, Body{patches, p, {origin[0], origin[1], origin[2]}, box, out});
    }
}

}  // namespace

void extract_patches_cuda(const View<const float, 3>& volume, const int64_t* origins, float pad_value,
                          const View<float, 4>& out, void* stream) {
    const int64_t voxels = checked_product({out.shape[1], out.shape[2], out.shape[3]});
    if (voxels == 0 || out.shape[0] == 0) return;
    const DeviceOf device(out.data);
    for (int64_t p = 0; p < out.shape[0]; ++p) {
        const int64_t* origin = origins + 3 * p;
        for_each(voxels, stream, Extract{volume, {origin[0], origin[1], origin[2]}, pad_value, out, p});
    }
}

void stitch_patches_cuda(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                         const View<float, 4>& out, void* stream) {
    if (checked_product({out.shape[0], out.shape[1], out.shape[2], out.shape[3]}) == 0) return;
    const DeviceOf device(out.data);
    stitch<Stitch>(patches, origins, margin, out, out.shape + 1, stream);
}

void stitch_mask_cuda(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                      const View<uint8_t, 3>& out, void* stream) {
    if (whole(out).empty()) return;
    const DeviceOf device(out.data);
    stitch<StitchMask>(patches, origins, margin, out, out.shape, stream);
}

}  // namespace spf
