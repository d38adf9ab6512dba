// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <stdexcept>

namespace spf {

/// Product of sizes, none negative.
/// Throws std::overflow_error when it does not fit into 64 bits, std::invalid_argument for a negative size.
inline int64_t checked_product(std::initializer_list<int64_t> sizes) {
    int64_t product = 1;
    bool zero = false;
    for (const int64_t size : sizes) {
        if (size < 0) throw std::invalid_argument("a size is negative");
        zero = zero || size == 0;
    }
    if (zero) return 0;
    for (const int64_t size : sizes) {
        if (product > std::numeric_limits<int64_t>::max() / size) throw std::overflow_error("sizes exceed 64 bits");
        product *= size;
    }
    return product;
}

}  // namespace spf
