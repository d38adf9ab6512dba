// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace spf {

/// Bytes of work for which a thread is worth starting: that costs about as long (100 us) as another thread needs for a
/// MiB or two. Tests set it to 1, so that small work is shared out as well.
inline std::atomic<int64_t> bytes_per_thread{int64_t{4} << 20};

/// How many of `threads` are worth starting for work on so many bytes.
inline int threads_worth(int64_t bytes, int threads) {
    return static_cast<int>(std::clamp<int64_t>(bytes / bytes_per_thread, 1, std::max(threads, 1)));
}

/// Number of chunks that `parallel_chunks` makes of n items: at least one, at most one per item.
inline int64_t chunk_count(int64_t n, int threads) { return std::clamp<int64_t>(threads, 1, std::max<int64_t>(n, 1)); }

/// Calls body(begin, end, chunk) once for each of `chunk_count` contiguous chunks of [0, n), each in its own thread.
///
/// Which items a chunk holds depends on n and `threads` only, never on timing. The first exception, by chunk, is
/// rethrown here after every thread has ended: none crosses a thread. std::thread and not OpenMP, whose runtime in a
/// wheel collides with the one that torch brings.
template <class Body>
void parallel_chunks(int64_t n, int threads, Body&& body) {
    const int64_t chunks = chunk_count(n, threads);
    const int64_t size = n / chunks;
    const int64_t rest = n % chunks;
    std::vector<std::exception_ptr> errors(static_cast<size_t>(chunks));
    const auto run = [&](int64_t chunk) noexcept {
        try {
            const int64_t begin = chunk * size + std::min(chunk, rest);
            body(begin, begin + size + (chunk < rest ? 1 : 0), chunk);
        } catch (...) {
            errors[static_cast<size_t>(chunk)] = std::current_exception();
        }
    };
    std::vector<std::thread> pool;
    pool.reserve(static_cast<size_t>(chunks));
    for (int64_t chunk = 1; chunk < chunks; ++chunk) {
        try {
            pool.emplace_back(run, chunk);
        } catch (const std::system_error&) {
            run(chunk);  // The system refuses more threads: the answer is the same, only later.
        }
    }
    run(0);
    for (std::thread& thread : pool) thread.join();
    for (const std::exception_ptr& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace spf
