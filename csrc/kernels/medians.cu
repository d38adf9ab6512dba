// SPDX-License-Identifier: Apache-2.0
#include "kernels/medians.h"
#include "support/error.h"
#include "support/launch.cuh"

namespace spf {
namespace {

constexpr int64_t kBlock = 16;

// Whether none of the kBlock voxels from `block` on, an address of whole 16 bytes, votes.
__device__ bool is_background(const uint8_t* block, int) {
    const uint4 bytes = *reinterpret_cast<const uint4*>(block);
    return (bytes.x | bytes.y | bytes.z | bytes.w) == 0;
}

__device__ bool is_background(const float* block, int n_labels) {
    int any = 0;
    for (int64_t k = 0; k < kBlock; k += 4) {
        const float4 labels = *reinterpret_cast<const float4*>(block + k);
        any |= vote_of(labels.x, n_labels) | vote_of(labels.y, n_labels) | vote_of(labels.z, n_labels) |
               vote_of(labels.w, n_labels);
    }
    return any == 0;
}

// Each thread counts the runs in kBlock voxels that follow each other in memory. `scanned`, the mask or the labels, is
// what tells background; null where its voxels do not follow each other.
template <class Label, class Scanned>
struct CountBlock {
    View<const Label, 3> labels;
    View<const uint8_t, 3> mask;
    const Scanned* scanned;
    int64_t before;  // voxels that block 0 lacks, so that all others begin at whole 16 bytes
    Box box;
    int n_labels;
    BoxCounts counts;

    __device__ int vote(int64_t a, int64_t b, int64_t k) const {
        return mask.data != nullptr && mask(a, b, k) == 0 ? 0 : vote_of(labels(a, b, k), n_labels);
    }

    __device__ void operator()(int64_t block) const {
        const int64_t voxels = labels.shape[0] * labels.shape[1] * labels.shape[2];
        const int64_t side = labels.shape[2];
        int64_t from = block * kBlock - before;
        const int64_t to = from + kBlock < voxels ? from + kBlock : voxels;
        if (scanned != nullptr && from >= 0 && to - from == kBlock && is_background(scanned + from, n_labels)) return;
        if (from < 0) from = 0;
        while (from < to) {
            const Voxel at = voxel_of(box, from);
            const int64_t stop = at.k + (to - from) < side ? at.k + (to - from) : side;
            from += stop - at.k;
            int64_t start = at.k;
            int label = vote(at.i, at.j, start);
            for (int64_t k = start + 1; k <= stop; ++k) {
                const int next = k < stop ? vote(at.i, at.j, k) : 0;
                if (k < stop && next == label) continue;
                if (label != 0) counts.add_run(label, at.i, at.j, start, k);
                start = k;
                label = next;
            }
        }
    }
};

template <class Label, class Scanned>
void queue(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask,
           const View<const Scanned, 3>& scanned, const BoxCounts& counts, int n_labels, int64_t voxels, void* stream) {
    const bool whole_blocks = is_contiguous(scanned);
    const auto address = reinterpret_cast<std::uintptr_t>(scanned.data);
    const auto before = whole_blocks ? static_cast<int64_t>(address % 16 / sizeof(Scanned)) : 0;
    for_each((voxels - 1 + before) / kBlock + 1, stream,
             CountBlock<Label, Scanned>{labels, mask, whole_blocks ? scanned.data : nullptr, before, whole(labels),
                                        n_labels, counts});
}

struct Statistics {
    VoteCounts counts;
    VoteStatistics out;

    __device__ void operator()(int64_t index) const { write_statistics(counts, index, out); }
};

}  // namespace

template <class Label>
void count_votes_cuda(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, const int64_t (&first)[3],
                      const VoteCounts& counts, void* stream) {
    const int64_t voxels = checked_product({labels.shape[0], labels.shape[1], labels.shape[2]});
    if (voxels == 0) return;
    const DeviceOf device(labels.data);
    const std::array<int, 3> order = reading_order(labels, mask);
    const View<const Label, 3> volume = permuted(labels, order);
    const View<const uint8_t, 3> voters = permuted(mask, order);
    const BoxCounts runs(counts, first, order);
    if (mask.data != nullptr) {
        queue(volume, voters, voters, runs, counts.n_labels, voxels, stream);
    } else {
        queue(volume, voters, volume, runs, counts.n_labels, voxels, stream);
    }
}

template void count_votes_cuda(const View<const uint8_t, 3>&, const View<const uint8_t, 3>&, const int64_t (&)[3],
                               const VoteCounts&, void*);
template void count_votes_cuda(const View<const float, 3>&, const View<const uint8_t, 3>&, const int64_t (&)[3],
                               const VoteCounts&, void*);

void vote_statistics_cuda(const VoteCounts& counts, const VoteStatistics& out, void* stream) {
    const DeviceOf device(counts.data);
    for_each(counts.n_labels * int64_t{3}, stream, Statistics{counts, out});
}

}  // namespace spf
