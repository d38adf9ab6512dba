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

// Written without branches, and with comparisons of signed numbers, so that loops over rows are vectorised.

SPF_HD inline float to_float(Half value) {
    const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000U) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffU) << 13;
    constexpr uint32_t kRebias = (127U - 15U) << 23;
    // Subnormal: the missing leading one is put there and subtracted again, which is exact.
    constexpr uint32_t kLeadingOne = kRebias + (1U << 23);
    const uint32_t subnormal = bits_of(float_of_bits(magnitude + kLeadingOne) - float_of_bits(kLeadingOne));
    const uint32_t normal = magnitude + kRebias;
    const uint32_t special = magnitude + 2 * kRebias;  // infinity and NaN
    const auto exponent = static_cast<int32_t>(magnitude);
    const uint32_t finite = exponent < int32_t{0x0400 << 13} ? subnormal : normal;
    return float_of_bits(sign | (exponent >= int32_t{0x7c00 << 13} ? special : finite));
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
    const auto magnitude = static_cast<int32_t>(bits & 0x7fffffffU);
    return {static_cast<uint16_t>(magnitude > 0x7f800000 ? 0x7fc0U : rounded)};
}

template <>
SPF_HD inline Half from_float<Half>(float value) {
    const uint32_t sign = (bits_of(value) >> 16) & 0x8000U;
    const uint32_t bits = bits_of(value) & 0x7fffffffU;
    // Below 2^-14 a float next to 0.5 has the step of a subnormal half, so the addition rounds.
    const uint32_t subnormal = bits_of(float_of_bits(bits) + 0.5F) - bits_of(0.5F);
    const uint32_t normal = (bits - ((127U - 15U) << 23) + 0xfffU + ((bits >> 13) & 1U)) >> 13;
    const auto magnitude = static_cast<int32_t>(bits);
    const uint32_t special = magnitude > 0x7f800000 ? 0x7e00U : 0x7c00U;
    const uint32_t finite = magnitude < 0x38800000 ? subnormal : normal;
    return {static_cast<uint16_t>(sign | (magnitude >= 0x47800000 ? special : finite))};  // from 2^16 on
}

}  // namespace spf
