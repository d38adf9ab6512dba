// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>

#include "support/view.h"

namespace spf {

/// The label 1..n_labels that a voxel votes for; 0 where it votes for none.
SPF_HD inline int vote_of(uint8_t label, int n_labels) { return label <= n_labels ? label : 0; }

/// Rounds half to even, as NumPy and torch do.
SPF_HD inline int vote_of(float label, int n_labels) {
    // From 2^23 to 2^24 floats are the whole numbers, so the sum rounds and its last bits are the answer. NaN and what
    // leaves that range have other first bits: as a number they are larger than any label.
    const float sum = label + 8388608.0F;
    uint32_t bits = 0;
    std::memcpy(&bits, &sum, sizeof bits);
    const uint32_t rounded = bits - 0x4B000000U;
    return rounded <= static_cast<uint32_t>(n_labels) ? static_cast<int>(rounded) : 0;
}

/// How many voters each label has at each index along x, y and z of a volume of `shape` voxels.
///
/// int64 (n_labels, (x + 1) + (y + 1) + (z + 1)), C-contiguous. Each axis holds the differences between neighbouring
/// counts, the last one behind its end. So a run of voxels changes six numbers, however long it is and whatever axis it
/// runs along, and the counts of a volume's parts add up to those of the volume.
struct VoteCounts {
    int64_t* data = nullptr;
    int n_labels = 0;
    int64_t shape[3] = {};

    SPF_HD int64_t width() const { return shape[0] + shape[1] + shape[2] + 3; }
    /// Where an axis begins within a label's row.
    SPF_HD int64_t begin(int axis) const { return (axis > 0 ? shape[0] + 1 : 0) + (axis > 1 ? shape[1] + 1 : 0); }
};

/// On a GPU many threads add to one counter; whole numbers have the same sum in any order.
SPF_HD inline void add_to(int64_t* counter, int64_t more) {
#if defined(__CUDA_ARCH__)
    static_assert(sizeof(unsigned long long) == sizeof(int64_t), "atomicAdd knows no int64_t");
    atomicAdd(reinterpret_cast<unsigned long long*>(counter), static_cast<unsigned long long>(more));
#else
    *counter += more;
#endif
}

/// The same counts for voxels that are counted from the corner of a box, with the axes in another order.
struct BoxCounts {
    int64_t* data;
    int64_t width;
    int64_t begin[3];

    BoxCounts(const VoteCounts& counts, const int64_t (&first)[3], const std::array<int, 3>& order)
        : data(counts.data), width(counts.width()), begin{} {
        for (int axis = 0; axis < 3; ++axis) {
            const int of = order[static_cast<size_t>(axis)];
            begin[axis] = counts.begin(of) + first[of];
        }
    }

    /// Voxels (a, b, start) to (a, b, stop - 1) vote for `label`.
    SPF_HD void add_run(int label, int64_t a, int64_t b, int64_t start, int64_t stop) const {
        int64_t* row = data + (label - 1) * width;
        add_to(row + begin[0] + a, stop - start);
        add_to(row + begin[0] + a + 1, start - stop);
        add_to(row + begin[1] + b, stop - start);
        add_to(row + begin[1] + b + 1, start - stop);
        add_to(row + begin[2] + start, 1);
        add_to(row + begin[2] + stop, -1);
    }
};

/// Where the voters of each label lie, in voxel indices; all C-contiguous.
struct VoteStatistics {
    int64_t* votes;     // (n_labels,)
    double* quantiles;  // (3, n_labels, 3): quarter, label, axis; NaN where there are no votes
    int64_t* bounds;    // (2, n_labels, 3): first and last index with a vote; -1 where there are no votes
};

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Statistics number `index` of n_labels * 3, labels before axes.
SPF_HD inline void write_statistics(const VoteCounts& counts, int64_t index, const VoteStatistics& out) {
    const int64_t label = index / 3;
    const int axis = static_cast<int>(index % 3);
    const int64_t* differences = counts.data + label * counts.width() + counts.begin(axis);
    const int64_t side = counts.shape[axis];
    int64_t votes = 0;
    for (int64_t i = 0, here = 0; i < side; ++i) {
        here += differences[i];
        votes += here;
    }
    // A quantile lies between two neighbouring ranks (from 0): whole and rest of (votes - 1) * quarters / 4.
    int64_t rank[8] = {0, 0, 0, 0, 0, 0, 0, votes - 1};
    int64_t rest[3] = {};
    for (int q = 0; q < 3; ++q) {
        const int64_t quarters = (votes - 1) % 4 * (q + 1);
        rank[1 + 2 * q] = (votes - 1) / 4 * (q + 1) + quarters / 4;
        rest[q] = quarters % 4;
        rank[2 + 2 * q] = rank[1 + 2 * q] + 1;
    }
    int64_t found[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    for (int64_t i = 0, here = 0, below = 0; below < votes && i < side; ++i) {
        here += differences[i];
        if (here == 0) continue;
        for (int r = 0; r < 8; ++r) {
            if (rank[r] >= below && rank[r] < below + here) found[r] = i;
        }
        below += here;
    }
    const int64_t each = counts.n_labels * int64_t{3};
    if (axis == 0) out.votes[label] = votes;
    out.bounds[index] = found[0];
    out.bounds[each + index] = found[7];
    for (int q = 0; q < 3; ++q) {
        // Linear, as numpy.percentile. All terms are small multiples of 1/4, so nothing is rounded.
        const int64_t low = found[1 + 2 * q];
        const int64_t step = rest[q] * (found[2 + 2 * q] - low);
        out.quantiles[q * each + index] =
            votes == 0 ? kNaN : static_cast<double>(low) + 0.25 * static_cast<double>(step);
    }
}

/// Axes from the slowest to the fastest in memory of what is read from one end to the other.
template <class Label>
std::array<int, 3> reading_order(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask) {
    return mask.data != nullptr ? memory_order(mask) : memory_order(labels);
}

/// Adds the voters in a box, whose first voxel is voxel `first` of the volume, to its counts.
/// `mask` has the shape of `labels` and its zeros do not vote; mask.data is null where every voxel may vote.
template <class Label>
void count_votes(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, const int64_t (&first)[3],
                 const VoteCounts& counts, int threads);

/// The same on a CUDA device: all pointers to device memory, the work is queued on `stream` and not waited for.
template <class Label>
void count_votes_cuda(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, const int64_t (&first)[3],
                      const VoteCounts& counts, void* stream);

/// Statistics of every label from its counts.
void vote_statistics(const VoteCounts& counts, const VoteStatistics& out, int threads);
void vote_statistics_cuda(const VoteCounts& counts, const VoteStatistics& out, void* stream);

}  // namespace spf
