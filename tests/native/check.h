// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <utility>

#include "support/view.h"

namespace spf::test {

/// Ends the program where a condition does not hold: sanitizers do the same with what they find.
#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                  \
        }                                                                                  \
    } while (false)

constexpr int kThreads[] = {1, 2, 3, 7};

/// The same numbers in every run.
class Random {
  public:
    explicit Random(uint64_t seed) : engine_(seed) {}
    int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
    double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
    /// Length of an axis; 0 and 1 often.
    int64_t side(int64_t largest) { return whole(0, 3) == 0 ? whole(0, 1) : whole(0, largest); }

  private:
    std::mt19937_64 engine_;
};

/// Heap memory of exactly the elements of an array in a drawn order of axes, some of them backwards: an address
/// sanitizer sees every byte beyond it.
template <class T, int N>
struct Block {
    std::unique_ptr<T[]> memory;
    int64_t size = 1;
    View<T, N> view;

    Block(Random& random, const int64_t (&shape)[N], bool contiguous = false) {
        std::array<int, N> order{};
        for (int axis = 0; axis < N; ++axis) order[static_cast<size_t>(axis)] = axis;
        if (!contiguous) {
            for (size_t axis = N - 1; axis > 0; --axis) {
                std::swap(order[axis], order[static_cast<size_t>(random.whole(0, static_cast<int64_t>(axis)))]);
            }
        }
        int64_t first = 0;
        for (size_t at = N; at-- > 0;) {
            const int axis = order[at];
            view.shape[axis] = shape[axis];
            const bool backwards = !contiguous && random.whole(0, 1) == 1;
            view.stride[axis] = backwards ? -size : size;
            if (backwards && shape[axis] > 0) first += (shape[axis] - 1) * size;
            size *= shape[axis];
        }
        memory = std::make_unique<T[]>(static_cast<size_t>(size));
        std::memset(static_cast<void*>(memory.get()), 0, static_cast<size_t>(size) * sizeof(T));
        view.data = memory.get() + (size > 0 ? first : 0);
    }

    View<const T, N> read() const {
        View<const T, N> constant;
        constant.data = view.data;
        for (int axis = 0; axis < N; ++axis) {
            constant.shape[axis] = view.shape[axis];
            constant.stride[axis] = view.stride[axis];
        }
        return constant;
    }
};

void test_discs();
void test_medians();
void test_stitch();
void test_deform();
void test_resample();

}  // namespace spf::test
