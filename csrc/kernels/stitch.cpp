// SPDX-License-Identifier: Apache-2.0
#include "kernels/stitch.h"

#include <algorithm>
#include <cstring>

#include "support/error.h"
#include "support/parallel.h"

namespace spf {
namespace {

void copy_row(const float* from, int64_t from_step, float* to, int64_t to_step, int64_t n) {
    if (from_step == 1 && to_step == 1) {
        std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
    } else {
        for (int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
    }
}

// Calls write(patch, box) for the centre of every patch, in order, each thread within its own range of x. So the last
// patch wins for every voxel, at any number of threads.
template <class Write>
void stitch(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
            const int64_t* shape, int threads, const Write& write) {
    const int64_t n = patches.shape[0];
    const int64_t* patch = patches.shape + 2;
    // The range of x that this call writes at all: a batch of patches often lies in one narrow slab, and all threads
    // should have a part of it.
    int64_t low = shape[0];
    int64_t high = 0;
    for (int64_t p = 0; p < n; ++p) {
        const Box box = centre_inside(origins + 3 * p, patch, margin, shape);
        if (box.empty()) continue;
        low = std::min(low, box.lo[0]);
        high = std::max(high, box.hi[0]);
    }
    if (low >= high) return;
    parallel_chunks(high - low, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t p = 0; p < n; ++p) {
            Box box = centre_inside(origins + 3 * p, patch, margin, shape);
            box.lo[0] = std::max(box.lo[0], low + begin);
            box.hi[0] = std::min(box.hi[0], low + end);
            if (!box.empty()) write(p, box);
        }
    });
}

}  // namespace

void extract_patches(const View<const float, 3>& volume, const int64_t* origins, float pad_value,
                     const View<float, 4>& out, int threads) {
    const int64_t depth = out.shape[3];
    parallel_chunks(checked_product({out.shape[0], out.shape[1]}), threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t slice = begin; slice < end; ++slice) {
            const int64_t p = slice / out.shape[1];
            const int64_t i = slice % out.shape[1];
            const int64_t* origin = origins + 3 * p;
            const int64_t x = origin[0] + i;
            const int64_t z0 = std::clamp<int64_t>(-origin[2], 0, depth);
            const int64_t z1 = std::clamp<int64_t>(volume.shape[2] - origin[2], z0, depth);
            for (int64_t j = 0; j < out.shape[2]; ++j) {
                const int64_t y = origin[1] + j;
                float* row = &out(p, i, j, 0);
                const bool inside = x >= 0 && x < volume.shape[0] && y >= 0 && y < volume.shape[1] && z0 < z1;
                if (!inside) {
                    std::fill_n(row, depth, pad_value);
                    continue;
                }
                std::fill_n(row, z0, pad_value);
                copy_row(&volume(x, y, origin[2] + z0), volume.stride[2], row + z0, 1, z1 - z0);
                std::fill_n(row + z1, depth - z1, pad_value);
            }
        }
    });
}

void stitch_patches(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                    const View<float, 4>& out, int threads) {
    stitch(patches, origins, margin, out.shape + 1, threads, [&](int64_t p, const Box& box) {
        const int64_t* origin = origins + 3 * p;
        for (int64_t channel = 0; channel < out.shape[0]; ++channel) {
            for (int64_t x = box.lo[0]; x < box.hi[0]; ++x) {
                for (int64_t y = box.lo[1]; y < box.hi[1]; ++y) {
                    copy_row(&patches(p, channel, x - origin[0], y - origin[1], box.lo[2] - origin[2]),
                             patches.stride[4], &out(channel, x, y, box.lo[2]), out.stride[3], box.extent(2));
                }
            }
        }
    });
}

void stitch_mask(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                 const View<uint8_t, 3>& out, int threads) {
    stitch(patches, origins, margin, out.shape, threads, [&](int64_t p, const Box& box) {
        const int64_t* origin = origins + 3 * p;
        const int64_t n = box.extent(2);
        for (int64_t x = box.lo[0]; x < box.hi[0]; ++x) {
            for (int64_t y = box.lo[1]; y < box.hi[1]; ++y) {
                const float* zero = &patches(p, 0, x - origin[0], y - origin[1], box.lo[2] - origin[2]);
                const float* one = zero + patches.stride[1];
                uint8_t* row = &out(x, y, box.lo[2]);
                if (out.stride[2] == 1) {
                    for (int64_t k = 0; k < n; ++k) row[k] = foreground(zero[k], one[k]);
                } else {
                    for (int64_t k = 0; k < n; ++k) row[k * out.stride[2]] = foreground(zero[k], one[k]);
                }
            }
        }
    });
}

}  // namespace spf
