// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "support/view.h"

namespace spf {

/// Storage of the 16-bit floats that networks work in. Arithmetic is done in float: these only hold bits.
struct Half {
    uint16_t bits;
};
struct Bfloat16 {
    uint16_t bits;
};

SPF_HD inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

SPF_HD inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
SPF_HD inline float to_float(T value) {
    return static_cast<float>(value);
}

SPF_HD inline float to_float(Bfloat16 value) { return float_of_bits(static_cast<uint32_t>(value.bits) << 16); }

SPF_HD inline float to_float(Half value) {
    const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000U) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffU) << 13;
    constexpr uint32_t kRebias = (127U - 15U) << 23;
    if (magnitude >= 0x7c00U << 13) return float_of_bits(sign | (magnitude + 2 * kRebias));  // infinity and NaN
    if (magnitude < 0x0400U << 13) {
        // Subnormal: the missing leading one is put there and subtracted again, which is exact.
        constexpr uint32_t kLeadingOne = kRebias + (1U << 23);
        return float_of_bits(sign | bits_of(float_of_bits(magnitude + kLeadingOne) - float_of_bits(kLeadingOne)));
    }
    return float_of_bits(sign | (magnitude + kRebias));
}

template <class T>
SPF_HD inline T from_float(float value);

template <>
SPF_HD inline float from_float<float>(float value) {
    return value;
}

/// Rounds half to even, as hardware and torch do; every NaN becomes the quiet one.
template <>
SPF_HD inline Bfloat16 from_float<Bfloat16>(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    return {static_cast<uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? 0x7fc0U : rounded)};
}

template <>
SPF_HD inline Half from_float<Half>(float value) {
    const uint32_t sign = (bits_of(value) >> 16) & 0x8000U;
    const uint32_t magnitude = bits_of(value) & 0x7fffffffU;
    uint32_t half;
    if (magnitude >= 0x47800000U) {  // 2^16 and more
        half = magnitude > 0x7f800000U ? 0x7e00U : 0x7c00U;
    } else if (magnitude < 0x38800000U) {
        // Below 2^-14: a float next to 0.5 has the step of a subnormal half, so the addition rounds.
        half = bits_of(float_of_bits(magnitude) + 0.5F) - bits_of(0.5F);
    } else {
        half = (magnitude - ((127U - 15U) << 23) + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
    }
    return {static_cast<uint16_t>(sign | half)};
}

}  // namespace spf
