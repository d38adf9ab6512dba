// SPDX-License-Identifier: Apache-2.0
#include "kernels/medians.h"
#include "support/error.h"
#include "support/launch.cuh"

namespace spf {
namespace {

// Integer atomics only: the sums are the same in any order.
__device__ void increment(int64_t* counter) {
    static_assert(sizeof(unsigned long long) == sizeof(int64_t), "atomicAdd knows no int64_t");
    atomicAdd(reinterpret_cast<unsigned long long*>(counter), 1ULL);
}

template <class Label>
struct Count {
    View<const Label, 3> labels;
    View<const uint8_t, 3> mask;
    Box box;
    int n_labels;
    int64_t* histograms;
    int64_t width;
    int64_t offset[3];

    __device__ void operator()(int64_t index) const {
        const Voxel v = voxel_of(box, index);
        if (mask.data != nullptr && mask(v.i, v.j, v.k) == 0) return;
        const int label = vote_of(labels(v.i, v.j, v.k), n_labels);
        if (label == 0) return;
        int64_t* histogram = histograms + (label - 1) * width;
        increment(histogram + offset[0] + v.i);
        increment(histogram + offset[1] + v.j);
        increment(histogram + offset[2] + v.k);
    }
};

}  // namespace

template <class Label>
void label_histograms_cuda(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, int n_labels,
                           int64_t* histograms, void* stream) {
    const int64_t voxels = checked_product({labels.shape[0], labels.shape[1], labels.shape[2]});
    if (voxels == 0) return;
    const DeviceOf device(labels.data);
    const std::array<int, 3> order = memory_order(labels);
    const int64_t first[3] = {0, labels.shape[0], labels.shape[0] + labels.shape[1]};
    Count<Label> count{permuted(labels, order), permuted(mask, order), {}, n_labels, histograms, 0, {}};
    count.box = whole(count.labels);
    count.width = labels.shape[0] + labels.shape[1] + labels.shape[2];
    for (int axis = 0; axis < 3; ++axis) count.offset[axis] = first[order[static_cast<size_t>(axis)]];
    for_each(voxels, stream, count);
}

template void label_histograms_cuda(const View<const uint8_t, 3>&, const View<const uint8_t, 3>&, int, int64_t*, void*);
template void label_histograms_cuda(const View<const float, 3>&, const View<const uint8_t, 3>&, int, int64_t*, void*);

}  // namespace spf
