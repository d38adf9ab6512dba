// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "support/view.h"

namespace spf {

/// The part of one patch's centre that lies inside a volume of `shape` voxels. The centre is [margin, size - margin)
/// along each axis; voxel v of the volume is element v - origin of the patch.
SPF_HD inline Box centre_inside(const int64_t* origin, const int64_t* patch, const int64_t* margin,
                                const int64_t* shape) {
    Box box;
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t low = origin[axis] + margin[axis];
        const int64_t high = origin[axis] + patch[axis] - margin[axis];
        box.lo[axis] = low > 0 ? low : 0;
        box.hi[axis] = high < shape[axis] ? high : shape[axis];
    }
    return box;
}

/// Fused argmax of two channels; a tie and NaN are background.
SPF_HD inline uint8_t foreground(float background_logit, float vertebra_logit) {
    return vertebra_logit > background_logit ? 1 : 0;
}

/// Copies patches whose first voxel is at origins (n, 3) into out (n, px, py, pz); outside the volume is pad_value.
/// Origins and the volume's shape must stay within +-2^62, so that their sums do not overflow.
void extract_patches(const View<const float, 3>& volume, const int64_t* origins, float pad_value,
                     const View<float, 4>& out, int threads);

/// Writes the centre of each of patches (n, c, px, py, pz) to out (c, x, y, z). Where centres overlap the last one
/// wins.
void stitch_patches(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                    const View<float, 4>& out, int threads);

/// The same for patches (n, 2, px, py, pz), fused with the argmax over the two channels.
void stitch_mask(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                 const View<uint8_t, 3>& out, int threads);

/// The same on a CUDA device: views point to device memory, `origins` to host memory that may be freed on return.
/// The work is queued on `stream` and not waited for.
void extract_patches_cuda(const View<const float, 3>& volume, const int64_t* origins, float pad_value,
                          const View<float, 4>& out, void* stream);
void stitch_patches_cuda(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                         const View<float, 4>& out, void* stream);
void stitch_mask_cuda(const View<const float, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                      const View<uint8_t, 3>& out, void* stream);

}  // namespace spf
