// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "support/view.h"

namespace spf {

inline void check_cuda(cudaError_t status, const char* what) {
    if (status != cudaSuccess)
        throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

/// Makes the device that owns `pointer` the current one of this thread, and the former one again when it ends.
class DeviceOf {
  public:
    explicit DeviceOf(const void* pointer) {
        int devices = 0;
        const cudaError_t status = cudaGetDeviceCount(&devices);
        if (status != cudaSuccess || devices == 0) {
            throw std::runtime_error(std::string("CUDA: no usable device (") + cudaGetErrorString(status) +
                                     "); pass NumPy arrays to run on the CPU");
        }
        cudaPointerAttributes attributes{};
        check_cuda(cudaPointerGetAttributes(&attributes, pointer), "looking up an array");
        if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
            throw std::runtime_error("CUDA: an array is not in device memory");
        }
        check_cuda(cudaGetDevice(&former_), "asking for the current device");
        check_cuda(cudaSetDevice(attributes.device), "choosing the device");
    }
    DeviceOf(const DeviceOf&) = delete;
    DeviceOf& operator=(const DeviceOf&) = delete;
    ~DeviceOf() { cudaSetDevice(former_); }

  private:
    int former_ = 0;
};

template <class Body>
__global__ void for_each_kernel(int64_t n, Body body) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) body(i);
}

/// Queues body(i) for every i in [0, n) on the stream. `body` is a struct of plain values with a __device__ operator().
template <class Body>
void for_each(int64_t n, void* stream, const Body& body) {
    if (n == 0) return;
    constexpr int64_t kThreads = 256;
    const int64_t blocks = std::min<int64_t>((n - 1) / kThreads + 1, int64_t{1} << 30);
    for_each_kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(kThreads), 0,
                      static_cast<cudaStream_t>(stream)>>>(n, body);
    check_cuda(cudaGetLastError(), "launching a kernel");
}

template <class Body>
__global__ void for_each_row_kernel(int64_t rows, Body body) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
    for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < rows; row += step) {
        body(row, static_cast<int64_t>(threadIdx.x), static_cast<int64_t>(blockDim.x));
    }
}

/// Queues body(row, first, step) for every row in [0, rows) and `step` threads, each of which does the elements first,
/// first + step, ... of its row: 64-bit divisions, slow on a GPU, are needed once a row and not for every element.
template <class Body>
void for_each_row(int64_t rows, void* stream, const Body& body) {
    static_assert(sizeof(Body) <= 4000, "a kernel has 4 KB of parameters");
    if (rows == 0) return;
    const dim3 threads(32, 8);
    const int64_t blocks = std::min<int64_t>((rows - 1) / threads.y + 1, int64_t{1} << 30);
    for_each_row_kernel<<<static_cast<unsigned>(blocks), threads, 0, static_cast<cudaStream_t>(stream)>>>(rows, body);
    check_cuda(cudaGetLastError(), "launching a kernel");
}

struct Voxel {
    int64_t i, j, k;
};

/// Voxel number `index` of a box, counted with the last axis fastest.
SPF_HD inline Voxel voxel_of(const Box& box, int64_t index) {
    const int64_t row = index / box.extent(2);
    return {box.lo[0] + row / box.extent(1), box.lo[1] + row % box.extent(1), box.lo[2] + index % box.extent(2)};
}

}  // namespace spf
