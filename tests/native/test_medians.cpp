// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "check.h"
#include "kernels/medians.h"

namespace spf::test {
namespace {

// Labels or a mask as a spine has them: blocks of one value, some of them with noise.
template <class T>
void draw_blocks(Random& random, const View<T, 3>& volume, int64_t largest) {
    for (int64_t blocks = random.whole(0, 6); blocks > 0; --blocks) {
        int64_t low[3], high[3];
        for (int axis = 0; axis < 3; ++axis) {
            low[axis] = random.whole(0, volume.shape[axis]);
            high[axis] = random.whole(low[axis], volume.shape[axis]);
        }
        const int64_t value = random.whole(0, largest);
        const bool noise = random.whole(0, 3) == 0;
        for (int64_t i = low[0]; i < high[0]; ++i) {
            for (int64_t j = low[1]; j < high[1]; ++j) {
                for (int64_t k = low[2]; k < high[2]; ++k) {
                    volume(i, j, k) = static_cast<T>(noise ? random.whole(0, largest) : value);
                }
            }
        }
    }
}

// A box anywhere in a volume, against three counters for every voxel; and the statistics, against sorted indices.
template <class Label>
void count(Random& random) {
    const int64_t shape[3] = {random.side(7), random.side(9), random.side(150)};
    const auto n_labels = static_cast<int>(random.whole(1, 255));
    int64_t first[3], whole[3];
    for (int axis = 0; axis < 3; ++axis) {
        first[axis] = random.whole(0, 3);
        whole[axis] = first[axis] + shape[axis] + random.whole(0, 3);
    }
    const bool contiguous = random.whole(0, 1) == 0;
    const bool masked = random.whole(0, 1) == 0;
    Block<Label, 3> labels(random, shape, contiguous);
    Block<uint8_t, 3> mask(random, shape, contiguous);
    draw_blocks(random, labels.view, random.whole(0, 1) == 0 ? 5 : 255);
    draw_blocks(random, mask.view, 1);
    const View<const uint8_t, 3> voters = masked ? mask.read() : View<const uint8_t, 3>{};

    std::vector<std::vector<int64_t>> indices(static_cast<size_t>(n_labels) * 3);
    for (int64_t i = 0; i < shape[0]; ++i) {
        for (int64_t j = 0; j < shape[1]; ++j) {
            for (int64_t k = 0; k < shape[2]; ++k) {
                const auto label = static_cast<int>(labels.view(i, j, k));
                if (label == 0 || label > n_labels || (masked && mask.view(i, j, k) == 0)) continue;
                const auto row = static_cast<size_t>(label - 1) * 3;
                indices[row].push_back(first[0] + i);
                indices[row + 1].push_back(first[1] + j);
                indices[row + 2].push_back(first[2] + k);
            }
        }
    }

    for (const int threads : kThreads) {
        VoteCounts counts{nullptr, n_labels, {whole[0], whole[1], whole[2]}};
        std::vector<int64_t> memory(static_cast<size_t>(n_labels * counts.width()));
        counts.data = memory.data();
        count_votes(labels.read(), voters, first, counts, threads);
        std::vector<int64_t> votes(static_cast<size_t>(n_labels)), bounds(votes.size() * 6);
        std::vector<double> quantiles(votes.size() * 9);
        vote_statistics(counts, {votes.data(), quantiles.data(), bounds.data()}, threads);
        for (size_t at = 0; at < indices.size(); ++at) {
            std::vector<int64_t>& sorted = indices[at];
            std::sort(sorted.begin(), sorted.end());
            CHECK(votes[at / 3] == static_cast<int64_t>(sorted.size()));
            CHECK(bounds[at] == (sorted.empty() ? -1 : sorted.front()));
            CHECK(bounds[indices.size() + at] == (sorted.empty() ? -1 : sorted.back()));
            for (size_t quarter = 0; quarter < 3; ++quarter) {
                const double got = quantiles[quarter * indices.size() + at];
                if (sorted.empty()) {
                    CHECK(std::isnan(got));
                    continue;
                }
                const size_t place = (sorted.size() - 1) * (quarter + 1);
                const auto low = static_cast<double>(sorted[place / 4]);
                const auto high = static_cast<double>(sorted[std::min(place / 4 + 1, sorted.size() - 1)]);
                CHECK(got == low + 0.25 * static_cast<double>(place % 4) * (high - low));
            }
        }
    }
}

}  // namespace

void test_medians() {
    Random random(2);
    for (int round = 0; round < 400; ++round) {
        count<uint8_t>(random);
        count<float>(random);
    }
}

}  // namespace spf::test
