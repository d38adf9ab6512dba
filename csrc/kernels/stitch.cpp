// SPDX-License-Identifier: Apache-2.0
#include "kernels/stitch.h"

#include <algorithm>

#include "support/error.h"
#include "support/parallel.h"

namespace spf {
namespace {

// to[i] = value(from[i]) along a row; a row of whole steps is a loop of its own, so that it is vectorised.
template <class From, class To, class Value>
void convert_row(const From* SPF_RESTRICT from, int64_t from_step, To* SPF_RESTRICT to, int64_t to_step, int64_t n,
                 const Value value) {
    if (from_step == 1 && to_step == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = value(from[i]);
    } else {
        for (int64_t i = 0; i < n; ++i) to[i * to_step] = value(from[i * from_step]);
    }
}

// to[i] = value(a[i], b[i], to[i]) along a row of two inputs without gaps.
template <class A, class B, class To, class Value>
void combine_row(const A* SPF_RESTRICT a, const B* SPF_RESTRICT b, To* SPF_RESTRICT to, int64_t to_step, int64_t n,
                 const Value value) {
    if (to_step == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = value(a[i], b[i], to[i]);
    } else {
        for (int64_t i = 0; i < n; ++i) to[i * to_step] = value(a[i], b[i], to[i * to_step]);
    }
}

// Calls write(patch, box) for the centre of every patch, in order, each thread within its own range of x. So the order
// of patches holds for every voxel, at any number of threads.
template <class In, class Write>
void stitch(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3], const int64_t* shape,
            int threads, const Write& write) {
    const int64_t n = patches.shape[0];
    const int64_t* patch = patches.shape + 2;
    // The range of x that this call writes at all: a batch of patches often lies in one narrow slab, and all threads
    // should have a part of it.
    int64_t low = shape[0];
    int64_t high = 0;
    double bytes = 0.0;  // a double cannot overflow, and it is only a guess at the work
    for (int64_t p = 0; p < n; ++p) {
        const Box box = centre_inside(origins + 3 * p, patch, margin, shape);
        if (box.empty()) continue;
        low = std::min(low, box.lo[0]);
        high = std::max(high, box.hi[0]);
        bytes += static_cast<double>(box.extent(0)) * static_cast<double>(box.extent(1)) *
                 static_cast<double>(box.extent(2)) * static_cast<double>(patches.shape[1]) * sizeof(In);
    }
    if (low >= high) return;
    threads = threads_worth(static_cast<int64_t>(std::min(bytes, 1e18)), threads);
    parallel_chunks(high - low, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t p = 0; p < n; ++p) {
            Box box = centre_inside(origins + 3 * p, patch, margin, shape);
            box.lo[0] = std::max(box.lo[0], low + begin);
            box.hi[0] = std::min(box.hi[0], low + end);
            if (!box.empty()) write(p, box);
        }
    });
}

// Writes value(background, vertebra) of the two channels.
template <class In, class Out, class Value>
void stitch_two(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                const View<Out, 3>& out, int threads, const Value value) {
    stitch(patches, origins, margin, out.shape, threads, [&](int64_t p, const Box& box) {
        const int64_t* origin = origins + 3 * p;
        for (int64_t x = box.lo[0]; x < box.hi[0]; ++x) {
            for (int64_t y = box.lo[1]; y < box.hi[1]; ++y) {
                const In* background = &patches(p, 0, x - origin[0], y - origin[1], box.lo[2] - origin[2]);
                combine_row(background, background + patches.stride[1], &out(x, y, box.lo[2]), out.stride[2],
                            box.extent(2),
                            [value](In zero, In one, Out) { return value(to_float(zero), to_float(one)); });
            }
        }
    });
}

}  // namespace

template <class In, class Out>
void extract_patches(const View<const In, 3>& volume, const int64_t* origins, const Normalisation& normalisation,
                     float pad_value, const View<Out, 4>& out, int threads) {
    const int64_t depth = out.shape[3];
    const Out padding = from_float<Out>(pad_value);
    const int64_t rows = checked_product({out.shape[0], out.shape[1]});
    threads = threads_worth(checked_product({rows, out.shape[2], depth, sizeof(Out)}), threads);
    parallel_chunks(rows, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t slice = begin; slice < end; ++slice) {
            const int64_t p = slice / out.shape[1];
            const int64_t i = slice % out.shape[1];
            const int64_t* origin = origins + 3 * p;
            const int64_t x = origin[0] + i;
            const int64_t z0 = std::clamp<int64_t>(-origin[2], 0, depth);
            const int64_t z1 = std::clamp<int64_t>(volume.shape[2] - origin[2], z0, depth);
            for (int64_t j = 0; j < out.shape[2]; ++j) {
                const int64_t y = origin[1] + j;
                Out* row = &out(p, i, j, 0);
                const bool inside = x >= 0 && x < volume.shape[0] && y >= 0 && y < volume.shape[1] && z0 < z1;
                if (!inside) {
                    std::fill_n(row, depth, padding);
                    continue;
                }
                std::fill_n(row, z0, padding);
                convert_row(
                    &volume(x, y, origin[2] + z0), volume.stride[2], row + z0, 1, z1 - z0,
                    [ramp = normalisation](In from) { return from_float<Out>(normalised(to_float(from), ramp)); });
                std::fill_n(row + z1, depth - z1, padding);
            }
        }
    });
}

template <class In>
void stitch_patches(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                    const View<float, 4>& out, int threads) {
    stitch(patches, origins, margin, out.shape + 1, threads, [&](int64_t p, const Box& box) {
        const int64_t* origin = origins + 3 * p;
        for (int64_t channel = 0; channel < out.shape[0]; ++channel) {
            for (int64_t x = box.lo[0]; x < box.hi[0]; ++x) {
                for (int64_t y = box.lo[1]; y < box.hi[1]; ++y) {
                    convert_row(&patches(p, channel, x - origin[0], y - origin[1], box.lo[2] - origin[2]), 1,
                                &out(channel, x, y, box.lo[2]), out.stride[3], box.extent(2),
                                [](In from) { return to_float(from); });
                }
            }
        }
    });
}

template <class In>
void stitch_mask(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                 const View<uint8_t, 3>& out, int threads) {
    stitch_two(patches, origins, margin, out, threads, Foreground{});
}

template <class In>
void stitch_probability(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                        const View<float, 3>& out, int threads) {
    stitch_two(patches, origins, margin, out, threads, Probability{});
}

template <class In>
void blend_patches(const View<const In, 5>& patches, const int64_t* origins, const View<const float, 3>& window,
                   const View<float, 4>& total, const View<float, 3>& weight, int threads) {
    stitch(patches, origins, {0, 0, 0}, weight.shape, threads, [&](int64_t p, const Box& box) {
        const int64_t* origin = origins + 3 * p;
        const int64_t n = box.extent(2);
        for (int64_t x = box.lo[0]; x < box.hi[0]; ++x) {
            for (int64_t y = box.lo[1]; y < box.hi[1]; ++y) {
                const int64_t i = x - origin[0];
                const int64_t j = y - origin[1];
                const int64_t k = box.lo[2] - origin[2];
                const float* share = &window(i, j, k);
                combine_row(share, share, &weight(x, y, box.lo[2]), weight.stride[2], n,
                            [](float w, float, float sum) { return sum + w; });
                for (int64_t channel = 0; channel < total.shape[0]; ++channel) {
                    combine_row(share, &patches(p, channel, i, j, k), &total(channel, x, y, box.lo[2]), total.stride[3],
                                n, [](float w, In from, float sum) { return sum + w * to_float(from); });
                }
            }
        }
    });
}

#define SPF_INSTANTIATE(In, Out)                                                                         \
    template void extract_patches(const View<const In, 3>&, const int64_t*, const Normalisation&, float, \
                                  const View<Out, 4>&, int);
SPF_FOR_EVERY_EXTRACTION(SPF_INSTANTIATE)
#undef SPF_INSTANTIATE

#define SPF_INSTANTIATE(_, In)                                                                                         \
    template void stitch_patches(const View<const In, 5>&, const int64_t*, const int64_t (&)[3],                       \
                                 const View<float, 4>&, int);                                                          \
    template void stitch_mask(const View<const In, 5>&, const int64_t*, const int64_t (&)[3], const View<uint8_t, 3>&, \
                              int);                                                                                    \
    template void stitch_probability(const View<const In, 5>&, const int64_t*, const int64_t (&)[3],                   \
                                     const View<float, 3>&, int);                                                      \
    template void blend_patches(const View<const In, 5>&, const int64_t*, const View<const float, 3>&,                 \
                                const View<float, 4>&, const View<float, 3>&, int);
SPF_FOR_EVERY_NETWORK_TYPE(SPF_INSTANTIATE, _)
#undef SPF_INSTANTIATE

}  // namespace spf
