// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "support/view.h"

namespace spf {

/// The label 1..n_labels that a voxel votes for; 0 where it votes for none.
SPF_HD inline int vote_of(uint8_t label, int n_labels) { return label <= n_labels ? label : 0; }

/// Rounds half to even, as NumPy and torch do. NaN fails the comparison.
SPF_HD inline int vote_of(float label, int n_labels) {
    if (!(label >= 0.5F && label <= static_cast<float>(n_labels) + 0.5F)) return 0;
    constexpr float kWhole = 8388608.0F;  // 2^23: floats from here on are whole numbers, so the sum rounds
    const int rounded = static_cast<int>((label + kWhole) - kWhole);
    return rounded <= n_labels ? rounded : 0;
}

/// What is known of one label's voters, in voxel indices along x, y, z.
struct LabelStatistics {
    int64_t votes;
    double median[3], q25[3], q75[3];  // NaN where there are no votes
    int64_t lower[3], upper[3];        // first and last index with a vote; -1 where there are no votes
};

/// Adds the voters to histograms (n_labels, x + y + z), C-contiguous: for each label one histogram along each axis.
/// `mask` has the shape of `labels` and its zeros do not vote; mask.data is null where every voxel may vote.
template <class Label>
void label_histograms(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, int n_labels,
                      int64_t* histograms, int threads);

/// The same on a CUDA device: all pointers to device memory, the work is queued on `stream` and not waited for.
template <class Label>
void label_histograms_cuda(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, int n_labels,
                           int64_t* histograms, void* stream);

/// Statistics of one label from its three histograms (x + y + z), for a volume of `shape` voxels.
LabelStatistics statistics_of(const int64_t* histograms, const int64_t (&shape)[3]);

}  // namespace spf
