// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/stitch.h"
#include "support/error.h"
#include "support/launch.cuh"

namespace spf {
namespace {

// Origins travel as a kernel's parameters, of which 4 KB are allowed: nothing is allocated or waited for.
constexpr int64_t kPatchesPerLaunch = 96;

struct Origins {
    int64_t at[kPatchesPerLaunch][3];

    Origins(const int64_t* origins, int64_t n) : at{} {
        for (int64_t p = 0; p < n; ++p) std::copy_n(origins + 3 * p, 3, at[p]);
    }
};

template <class In, class Out>
struct Extract {
    View<const In, 3> volume;
    View<Out, 4> out;
    int64_t first;  // patch of this launch
    Origins origins;
    Normalisation normalisation;
    Out padding;

    __device__ void operator()(int64_t row, int64_t begin, int64_t step) const {
        const int64_t j = row % out.shape[2];
        const int64_t i = row / out.shape[2] % out.shape[1];
        const int64_t p = row / out.shape[2] / out.shape[1];
        const int64_t x = origins.at[p][0] + i;
        const int64_t y = origins.at[p][1] + j;
        const bool inside = x >= 0 && x < volume.shape[0] && y >= 0 && y < volume.shape[1];
        for (int64_t k = begin; k < out.shape[3]; k += step) {
            const int64_t z = origins.at[p][2] + k;
            out(first + p, i, j, k) = inside && z >= 0 && z < volume.shape[2]
                                          ? from_float<Out>(normalised(to_float(volume(x, y, z)), normalisation))
                                          : padding;
        }
    }
};

// Where one element of a patch's centre comes from and goes to.
struct Element {
    int64_t patch, i, j, k;
    int64_t x, y, z;
};

template <class In, class Write>
struct Stitch {
    View<const In, 5> patches;
    int64_t first;  // patch of this launch
    Origins origins;
    int64_t margin[3];
    int64_t centre[3];
    int64_t shape[3];
    Write write;

    __device__ void operator()(int64_t row, int64_t begin, int64_t step) const {
        const int64_t p = row / centre[1] / centre[0];
        Element at{};
        at.patch = first + p;
        at.i = margin[0] + row / centre[1] % centre[0];
        at.j = margin[1] + row % centre[1];
        at.x = origins.at[p][0] + at.i;
        at.y = origins.at[p][1] + at.j;
        if (at.x < 0 || at.x >= shape[0] || at.y < 0 || at.y >= shape[1]) return;
        for (int64_t k = begin; k < centre[2]; k += step) {
            at.k = margin[2] + k;
            at.z = origins.at[p][2] + at.k;
            if (at.z >= 0 && at.z < shape[2]) write(patches, at);
        }
    }
};

template <class In>
struct Copy {
    View<float, 4> out;

    __device__ void operator()(const View<const In, 5>& patches, const Element& e) const {
        for (int64_t channel = 0; channel < out.shape[0]; ++channel) {
            out(channel, e.x, e.y, e.z) = to_float(patches(e.patch, channel, e.i, e.j, e.k));
        }
    }
};

template <class In, class Out, class Value>
struct OfTwo {
    View<Out, 3> out;
    Value value;

    __device__ void operator()(const View<const In, 5>& patches, const Element& e) const {
        out(e.x, e.y, e.z) =
            value(to_float(patches(e.patch, 0, e.i, e.j, e.k)), to_float(patches(e.patch, 1, e.i, e.j, e.k)));
    }
};

template <class In>
struct Blend {
    View<const float, 3> window;
    View<float, 4> total;
    View<float, 3> weight;

    __device__ void operator()(const View<const In, 5>& patches, const Element& e) const {
        const float share = window(e.i, e.j, e.k);
        weight(e.x, e.y, e.z) += share;
        for (int64_t channel = 0; channel < total.shape[0]; ++channel) {
            total(channel, e.x, e.y, e.z) += share * to_float(patches(e.patch, channel, e.i, e.j, e.k));
        }
    }
};

// How many patches, from the first on, have centres that do not meet: their order does not matter.
int64_t apart(const int64_t* origins, int64_t n, const int64_t* patch, const int64_t (&margin)[3],
              const int64_t* shape) {
    for (int64_t p = 1; p < n; ++p) {
        const Box box = centre_inside(origins + 3 * p, patch, margin, shape);
        for (int64_t q = 0; q < p; ++q) {
            if (!intersection(box, centre_inside(origins + 3 * q, patch, margin, shape)).empty()) return p;
        }
    }
    return n;
}

// One launch for as many patches as do not overlap: the stream keeps the launches' order, so for every voxel the order
// of patches holds.
template <class In, class Write>
void stitch(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3], const int64_t* shape,
            const Write& write, void* stream) {
    int64_t centre[3];
    for (int axis = 0; axis < 3; ++axis) {
        centre[axis] = patches.shape[2 + axis] - 2 * margin[axis];
        if (centre[axis] <= 0) return;
    }
    for (int64_t first = 0, n = 0; first < patches.shape[0]; first += n) {
        n = std::min(patches.shape[0] - first, kPatchesPerLaunch);
        n = apart(origins + 3 * first, n, patches.shape + 2, margin, shape);
        for_each_row(checked_product({n, centre[0], centre[1]}), stream,
                     Stitch<In, Write>{patches,
                                       first,
                                       Origins(origins + 3 * first, n),
                                       {margin[0], margin[1], margin[2]},
                                       {centre[0], centre[1], centre[2]},
                                       {shape[0], shape[1], shape[2]},
                                       write});
    }
}

}  // namespace

template <class In, class Out>
void extract_patches_cuda(const View<const In, 3>& volume, const int64_t* origins, const Normalisation& normalisation,
                          float pad_value, const View<Out, 4>& out, void* stream) {
    const int64_t rows = checked_product({out.shape[1], out.shape[2]});
    if (checked_product({out.shape[0], rows, out.shape[3]}) == 0) return;
    const DeviceOf device(out.data);
    for (int64_t first = 0; first < out.shape[0]; first += kPatchesPerLaunch) {
        const int64_t n = std::min(out.shape[0] - first, kPatchesPerLaunch);
        for_each_row(n * rows, stream,
                     Extract<In, Out>{volume, out, first, Origins(origins + 3 * first, n), normalisation,
                                      from_float<Out>(pad_value)});
    }
}

template <class In>
void stitch_patches_cuda(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                         const View<float, 4>& out, void* stream) {
    if (checked_product({out.shape[0], out.shape[1], out.shape[2], out.shape[3]}) == 0) return;
    const DeviceOf device(out.data);
    stitch(patches, origins, margin, out.shape + 1, Copy<In>{out}, stream);
}

template <class In>
void stitch_mask_cuda(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                      const View<uint8_t, 3>& out, void* stream) {
    if (whole(out).empty()) return;
    const DeviceOf device(out.data);
    stitch(patches, origins, margin, out.shape, OfTwo<In, uint8_t, Foreground>{out, {}}, stream);
}

template <class In>
void stitch_probability_cuda(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                             const View<float, 3>& out, void* stream) {
    if (whole(out).empty()) return;
    const DeviceOf device(out.data);
    stitch(patches, origins, margin, out.shape, OfTwo<In, float, Probability>{out, {}}, stream);
}

template <class In>
void blend_patches_cuda(const View<const In, 5>& patches, const int64_t* origins, const View<const float, 3>& window,
                        const View<float, 4>& total, const View<float, 3>& weight, void* stream) {
    if (whole(weight).empty()) return;
    const DeviceOf device(weight.data);
    stitch(patches, origins, {0, 0, 0}, weight.shape, Blend<In>{window, total, weight}, stream);
}

#define SPF_INSTANTIATE(In, Out)                                                                              \
    template void extract_patches_cuda(const View<const In, 3>&, const int64_t*, const Normalisation&, float, \
                                       const View<Out, 4>&, void*);
SPF_FOR_EVERY_EXTRACTION(SPF_INSTANTIATE)
#undef SPF_INSTANTIATE

#define SPF_INSTANTIATE(_, In)                                                                              \
    template void stitch_patches_cuda(const View<const In, 5>&, const int64_t*, const int64_t (&)[3],       \
                                      const View<float, 4>&, void*);                                        \
    template void stitch_mask_cuda(const View<const In, 5>&, const int64_t*, const int64_t (&)[3],          \
                                   const View<uint8_t, 3>&, void*);                                         \
    template void stitch_probability_cuda(const View<const In, 5>&, const int64_t*, const int64_t (&)[3],   \
                                          const View<float, 3>&, void*);                                    \
    template void blend_patches_cuda(const View<const In, 5>&, const int64_t*, const View<const float, 3>&, \
                                     const View<float, 4>&, const View<float, 3>&, void*);
SPF_FOR_EVERY_NETWORK_TYPE(SPF_INSTANTIATE, _)
#undef SPF_INSTANTIATE

}  // namespace spf
