// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace spf {

/// Sets n bytes to 0 past the caches, for what is too large to stay there: ordinary stores would first read what they
/// overwrite. Where the processor has no such stores, they are ordinary ones.
inline void clear_past_caches(uint8_t* bytes, int64_t n) {
#if defined(__SSE2__)
    constexpr int64_t kLine = 64;
    if (n < 64 * kLine) {  // too little to be worth the fence
        std::memset(bytes, 0, static_cast<size_t>(n));
        return;
    }
    const auto address = static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(bytes) % kLine);
    const int64_t head = (kLine - address) % kLine;
    const int64_t lines = (n - head) / kLine;
    std::memset(bytes, 0, static_cast<size_t>(head));
    uint8_t* line = bytes + head;
    for (int64_t i = 0; i < lines; ++i) {
        for (int64_t at = 0; at < kLine; at += 16) {
            _mm_stream_si128(reinterpret_cast<__m128i*>(line + at), _mm_setzero_si128());
        }
        line += kLine;
    }
    _mm_sfence();  // they are seen by other threads when ordinary stores behind them are
    std::memset(line, 0, static_cast<size_t>(bytes + n - line));
#else
    std::memset(bytes, 0, static_cast<size_t>(n));
#endif
}

}  // namespace spf
