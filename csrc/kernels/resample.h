// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "support/view.h"

namespace spf {

/// Of which voxels of an axis each new voxel is made: new voxel i is the sum over k < width of weight[i * width + k]
/// times old voxel first[i] + k. Where a weight is 0 the old voxel is not read, and may lie outside.
struct Taps {
    const int64_t* first;
    const float* weight;
    int64_t width;
};

/// The volume filtered along all three axes: out (x, y, z) has as many voxels as there are rows of taps, sums in float.
/// In: uint8, int8, uint16, int16, int32, float, double.
template <class In>
void resample(const View<const In, 3>& volume, const Taps (&taps)[3], const View<float, 3>& out, int threads);

#define SPF_FOR_EVERY_RESAMPLING(F) F(uint8_t) F(int8_t) F(uint16_t) F(int16_t) F(int32_t) F(float) F(double)

}  // namespace spf
