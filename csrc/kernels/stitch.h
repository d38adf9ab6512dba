// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "support/element.h"
#include "support/view.h"

namespace spf {

/// What a network sees of an intensity: clamp((intensity - subtract) * multiply, low, high), in float. NaN stays NaN.
struct Normalisation {
    float subtract, multiply, low, high;
};

SPF_HD inline float normalised(float intensity, const Normalisation& n) {
    // In the form of the processor's own maximum and minimum, which give their second operand where one is NaN.
    float value = (intensity - n.subtract) * n.multiply;
    value = n.low > value ? n.low : value;
    value = n.high < value ? n.high : value;
    return value;
}

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
struct Foreground {
    SPF_HD uint8_t operator()(float background_logit, float vertebra_logit) const {
        return vertebra_logit > background_logit ? 1 : 0;
    }
};

/// e^x to 2 ulp for x in [-87, 88], to which it is clamped: the same bits on every machine, which std::exp does not
/// promise, and in a form that compilers vectorise.
SPF_HD inline float exponential(float x) {
    x = -87.0F > x ? -87.0F : x;
    x = 88.0F < x ? 88.0F : x;
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: floats near it are whole numbers, so the sum rounds
    const float n = (x * 1.44269504F + kRound) - kRound;
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    float sum = 1.0F / 5040.0F;  // Taylor: |r| <= ln 2 / 2
    sum = sum * r + 1.0F / 720.0F;
    sum = sum * r + 1.0F / 120.0F;
    sum = sum * r + 1.0F / 24.0F;
    sum = sum * r + 1.0F / 6.0F;
    sum = sum * r + 0.5F;
    sum = sum * r * r + r + 1.0F;
    return sum * float_of_bits(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

/// Fused softmax of two channels, the second one's share; NaN stays NaN.
struct Probability {
    SPF_HD float operator()(float background_logit, float vertebra_logit) const {
        const float difference = background_logit - vertebra_logit;
        const float share = 1.0F / (1.0F + exponential(difference));
        return difference == difference ? share : difference;
    }
};

/// Copies patches whose first voxel is at origins (n, 3) into out (n, px, py, pz), normalised; outside the volume is
/// pad_value, which is not normalised.
/// In: uint8, int8, uint16, int16, int32, Half, Bfloat16, float, double; Out: Half, Bfloat16, float.
/// Origins and the volume's shape must stay within +-2^62, so that their sums do not overflow.
template <class In, class Out>
void extract_patches(const View<const In, 3>& volume, const int64_t* origins, const Normalisation& normalisation,
                     float pad_value, const View<Out, 4>& out, int threads);

/// Writes the centre of each of patches (n, c, px, py, pz) to out (c, x, y, z). Where centres overlap the last one
/// wins. In, here and below: Half, Bfloat16, float.
template <class In>
void stitch_patches(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                    const View<float, 4>& out, int threads);

/// The same for patches (n, 2, px, py, pz), fused with the argmax over the two channels.
template <class In>
void stitch_mask(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                 const View<uint8_t, 3>& out, int threads);

/// The same for patches (n, 2, px, py, pz), fused with the softmax: the probability of the second channel.
template <class In>
void stitch_probability(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                        const View<float, 3>& out, int threads);

/// Adds window * patch to total (c, x, y, z) and window (px, py, pz) to weight (x, y, z), patch after patch.
template <class In>
void blend_patches(const View<const In, 5>& patches, const int64_t* origins, const View<const float, 3>& window,
                   const View<float, 4>& total, const View<float, 3>& weight, int threads);

/// The same on a CUDA device: views point to device memory, `origins` to host memory that may be freed on return.
/// The work is queued on `stream` and not waited for.
template <class In, class Out>
void extract_patches_cuda(const View<const In, 3>& volume, const int64_t* origins, const Normalisation& normalisation,
                          float pad_value, const View<Out, 4>& out, void* stream);
template <class In>
void stitch_patches_cuda(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                         const View<float, 4>& out, void* stream);
template <class In>
void stitch_mask_cuda(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                      const View<uint8_t, 3>& out, void* stream);
template <class In>
void stitch_probability_cuda(const View<const In, 5>& patches, const int64_t* origins, const int64_t (&margin)[3],
                             const View<float, 3>& out, void* stream);
template <class In>
void blend_patches_cuda(const View<const In, 5>& patches, const int64_t* origins, const View<const float, 3>& window,
                        const View<float, 4>& total, const View<float, 3>& weight, void* stream);

// Every pair of element types that a form is built for: F(In, Out).
#define SPF_FOR_EVERY_NETWORK_TYPE(F, In) F(In, Half) F(In, Bfloat16) F(In, float)
#define SPF_FOR_EVERY_EXTRACTION(F)         \
    SPF_FOR_EVERY_NETWORK_TYPE(F, uint8_t)  \
    SPF_FOR_EVERY_NETWORK_TYPE(F, int8_t)   \
    SPF_FOR_EVERY_NETWORK_TYPE(F, uint16_t) \
    SPF_FOR_EVERY_NETWORK_TYPE(F, int16_t)  \
    SPF_FOR_EVERY_NETWORK_TYPE(F, int32_t)  \
    SPF_FOR_EVERY_NETWORK_TYPE(F, Half)     \
    SPF_FOR_EVERY_NETWORK_TYPE(F, Bfloat16) \
    SPF_FOR_EVERY_NETWORK_TYPE(F, float)    \
    SPF_FOR_EVERY_NETWORK_TYPE(F, double)

}  // namespace spf
