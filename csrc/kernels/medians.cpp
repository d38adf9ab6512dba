// SPDX-License-Identifier: Apache-2.0
#include "kernels/medians.h"

#include <cstring>
#include <limits>
#include <vector>

#include "support/error.h"
#include "support/parallel.h"

namespace spf {
namespace {

// First index from `k` on, in steps of eight, where eight labels, or eight voxels of the mask, are not all zero: most
// of a scan is background.
int64_t skip_background(const uint8_t* row, int64_t k, int64_t n) {
    uint64_t word = 0;
    while (k + 8 <= n) {
        std::memcpy(&word, row + k, 8);
        if (word != 0) break;
        k += 8;
    }
    return k;
}

int64_t skip_background(const float*, int64_t k, int64_t) { return k; }

// Index of the vote with this rank (from 0).
int64_t index_of_rank(const int64_t* histogram, int64_t rank) {
    int64_t index = 0;
    for (int64_t below = histogram[0]; below <= rank; below += histogram[index]) ++index;
    return index;
}

// Linear interpolation between the two nearest ranks, as numpy.percentile does. All terms are small multiples of 1/4,
// so nothing is rounded.
double quantile(const int64_t* histogram, int64_t votes, int64_t quarters) {
    const int64_t rank = (votes - 1) / 4 * quarters + (votes - 1) % 4 * quarters / 4;
    const int64_t rest = (votes - 1) % 4 * quarters % 4;
    const int64_t low = index_of_rank(histogram, rank);
    const int64_t high = rest == 0 ? low : index_of_rank(histogram, rank + 1);
    return static_cast<double>(low) + 0.25 * static_cast<double>(rest * (high - low));
}

}  // namespace

template <class Label>
void label_histograms(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, int n_labels,
                      int64_t* histograms, int threads) {
    if (whole(labels).empty()) return;
    const std::array<int, 3> order = memory_order(labels);
    const View<const Label, 3> volume = permuted(labels, order);
    const View<const uint8_t, 3> voters = permuted(mask, order);
    const int64_t sides[3] = {volume.shape[0], volume.shape[1], volume.shape[2]};
    const int64_t width = sides[0] + sides[1] + sides[2] + 1;  // one more: runs along the last axis end behind it
    const auto rows = static_cast<size_t>(n_labels);
    const auto size = static_cast<size_t>(checked_product({n_labels, width}));

    std::vector<std::vector<int64_t>> partial(static_cast<size_t>(chunk_count(sides[0], threads)));
    parallel_chunks(sides[0], threads, [&](int64_t begin, int64_t end, int64_t chunk) {
        std::vector<int64_t>& counts = partial[static_cast<size_t>(chunk)];
        counts.assign(size, 0);
        const int64_t step = volume.stride[2];
        const bool skips_by_mask = voters.data != nullptr && voters.stride[2] == 1;
        for (int64_t a = begin; a < end; ++a) {
            for (int64_t b = 0; b < sides[1]; ++b) {
                const Label* row = &volume(a, b, 0);
                const uint8_t* votes = voters.data == nullptr ? nullptr : &voters(a, b, 0);
                const auto vote_at = [&](int64_t c) {
                    return votes != nullptr && votes[c * voters.stride[2]] == 0 ? 0 : vote_of(row[c * step], n_labels);
                };
                for (int64_t c = 0; c < sides[2];) {
                    if (skips_by_mask) {
                        c = skip_background(votes, c, sides[2]);
                    } else if (step == 1) {
                        c = skip_background(row, c, sides[2]);
                    }
                    if (c == sides[2]) break;
                    const int label = vote_at(c);
                    const int64_t start = c++;
                    if (label == 0) continue;
                    while (c < sides[2] && vote_at(c) == label) ++c;
                    // A run of one label counts once: its ends are marked, and summed up below.
                    int64_t* count = counts.data() + (label - 1) * width;
                    count[a] += c - start;
                    count[sides[0] + b] += c - start;
                    count[sides[0] + sides[1] + start] += 1;
                    count[sides[0] + sides[1] + c] -= 1;
                }
            }
        }
    });

    const int64_t offset[3] = {0, labels.shape[0], labels.shape[0] + labels.shape[1]};
    for (size_t label = 0; label < rows; ++label) {
        int64_t* histogram = histograms + static_cast<int64_t>(label) * (width - 1);
        for (const std::vector<int64_t>& counts : partial) {
            const int64_t* count = counts.data() + static_cast<int64_t>(label) * width;
            for (int axis = 0; axis < 3; ++axis) {
                int64_t* to = histogram + offset[order[static_cast<size_t>(axis)]];
                int64_t running = 0;
                for (int64_t index = 0; index < sides[axis]; ++index) {
                    running = axis == 2 ? running + *count++ : *count++;
                    to[index] += running;
                }
            }
        }
    }
}

template void label_histograms(const View<const uint8_t, 3>&, const View<const uint8_t, 3>&, int, int64_t*, int);
template void label_histograms(const View<const float, 3>&, const View<const uint8_t, 3>&, int, int64_t*, int);

LabelStatistics statistics_of(const int64_t* histograms, const int64_t (&shape)[3]) {
    LabelStatistics result{};
    for (int64_t i = 0; i < shape[0]; ++i) result.votes += histograms[i];
    for (int axis = 0; axis < 3; ++axis) {
        if (result.votes == 0) {
            result.median[axis] = result.q25[axis] = result.q75[axis] = std::numeric_limits<double>::quiet_NaN();
            result.lower[axis] = result.upper[axis] = -1;
            continue;
        }
        result.median[axis] = quantile(histograms, result.votes, 2);
        result.q25[axis] = quantile(histograms, result.votes, 1);
        result.q75[axis] = quantile(histograms, result.votes, 3);
        result.lower[axis] = index_of_rank(histograms, 0);
        result.upper[axis] = index_of_rank(histograms, result.votes - 1);
        histograms += shape[axis];
    }
    return result;
}

}  // namespace spf
