// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace spf::dlpack {

// The binary interface of DLPack 1, https://dmlc.github.io/dlpack/latest/c_api.html: what an array of another library
// looks like in memory. Only what is read here has a name.

enum DeviceType : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

constexpr uint32_t kMajorVersion = 1;
constexpr uint64_t kReadOnly = 1;
constexpr const char* kCapsuleName = "dltensor_versioned";

struct Device {
    DeviceType type;
    int32_t id;
};

struct DataType {
    TypeCode code;
    uint8_t bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    DataType dtype;
    int64_t* shape;
    int64_t* strides;  // in elements; null where the array is C-contiguous
    uint64_t byte_offset;
};

struct ManagedTensor {
    uint32_t major;
    uint32_t minor;
    void* manager;
    void (*deleter)(ManagedTensor*);
    uint64_t flags;
    Tensor tensor;
};

}  // namespace spf::dlpack
