// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

// Shared by the C++ and the CUDA form of a kernel, so that tests without a GPU exercise the same lines.
#if defined(__CUDACC__)
#define SPF_HD __host__ __device__
#else
#define SPF_HD
#endif

// Rows of different arrays do not overlap: known to the compiler, so that it vectorises.
#if defined(_MSC_VER)
#define SPF_RESTRICT __restrict
#else
#define SPF_RESTRICT __restrict__
#endif

namespace spf {

/// Non-owning array of N axes. Strides count elements, not bytes, and may be negative or in any order.
template <class T, int N>
struct View {
    T* data = nullptr;
    int64_t shape[N] = {};
    int64_t stride[N] = {};

    template <class... Index>
    SPF_HD T& operator()(Index... index) const {
        static_assert(sizeof...(Index) == N, "one index per axis");
        const int64_t at[] = {static_cast<int64_t>(index)...};
        int64_t offset = 0;
        for (int axis = 0; axis < N; ++axis) offset += at[axis] * stride[axis];
        return data[offset];
    }
};

/// Half-open range of voxels [lo, hi) along three axes.
struct Box {
    int64_t lo[3] = {};
    int64_t hi[3] = {};

    SPF_HD int64_t extent(int axis) const { return hi[axis] > lo[axis] ? hi[axis] - lo[axis] : 0; }
    SPF_HD bool empty() const { return extent(0) == 0 || extent(1) == 0 || extent(2) == 0; }
};

/// The voxels in both boxes.
SPF_HD inline Box intersection(const Box& a, const Box& b) {
    Box both;
    for (int axis = 0; axis < 3; ++axis) {
        both.lo[axis] = a.lo[axis] > b.lo[axis] ? a.lo[axis] : b.lo[axis];
        both.hi[axis] = a.hi[axis] < b.hi[axis] ? a.hi[axis] : b.hi[axis];
    }
    return both;
}

/// The smallest box that holds both. An empty one holds nothing.
inline Box hull(const Box& a, const Box& b) {
    if (a.empty()) return b;
    if (b.empty()) return a;
    Box both;
    for (int axis = 0; axis < 3; ++axis) {
        both.lo[axis] = a.lo[axis] < b.lo[axis] ? a.lo[axis] : b.lo[axis];
        both.hi[axis] = a.hi[axis] > b.hi[axis] ? a.hi[axis] : b.hi[axis];
    }
    return both;
}

/// All voxels of a volume.
template <class T>
Box whole(const View<T, 3>& volume) {
    return {{0, 0, 0}, {volume.shape[0], volume.shape[1], volume.shape[2]}};
}

/// Axes from the slowest to the fastest in memory: loops in this order walk any layout forwards or backwards, but
/// close. An axis of one voxel goes before all others, whatever its stride.
template <class T>
std::array<int, 3> memory_order(const View<T, 3>& volume) {
    const auto reach = [&](int axis) {
        if (volume.shape[axis] == 1) return std::numeric_limits<int64_t>::max();
        return volume.stride[axis] < 0 ? -volume.stride[axis] : volume.stride[axis];
    };
    std::array<int, 3> order = {0, 1, 2};
    if (reach(order[0]) < reach(order[1])) std::swap(order[0], order[1]);
    if (reach(order[1]) < reach(order[2])) std::swap(order[1], order[2]);
    if (reach(order[0]) < reach(order[1])) std::swap(order[0], order[1]);
    return order;
}

/// Whether the elements follow each other in memory, the last axis fastest. The stride of an axis of one does not
/// count.
template <class T, int N>
bool is_contiguous(const View<T, N>& view) {
    int64_t size = 1;
    for (int axis = N - 1; axis >= 0; --axis) {
        if (view.shape[axis] != 1 && view.stride[axis] != size) return false;
        size *= view.shape[axis];
    }
    return true;
}

/// The same voxels with axes taken in `order`.
template <class T>
View<T, 3> permuted(const View<T, 3>& volume, const std::array<int, 3>& order) {
    View<T, 3> view{volume.data, {}, {}};
    for (int axis = 0; axis < 3; ++axis) {
        view.shape[axis] = volume.shape[order[static_cast<size_t>(axis)]];
        view.stride[axis] = volume.stride[order[static_cast<size_t>(axis)]];
    }
    return view;
}

}  // namespace spf
