// SPDX-License-Identifier: Apache-2.0
#include "kernels/medians.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "support/error.h"
#include "support/parallel.h"

namespace spf {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte of a word is the first in memory");

constexpr int64_t kBlock = 64;

// First index from `k` on with another byte than `value`; n where there is none.
int64_t first_other(const uint8_t* bytes, int64_t k, int64_t n, uint8_t value) {
    const uint64_t repeated = value * uint64_t{0x0101010101010101};
    for (; k + 8 <= n; k += 8) {
        uint64_t word = 0;
        std::memcpy(&word, bytes + k, 8);
        if (word != repeated) return k + __builtin_ctzll(word ^ repeated) / 8;
    }
    while (k < n && bytes[k] == value) ++k;
    return k;
}

// First index from `k` on with a byte that is not 0; n where there is none. Most of a scan is background, so this is
// where the time goes: blocks without a branch inside, which compilers turn into vector instructions.
int64_t first_voter(const uint8_t* bytes, int64_t k, int64_t n) {
    for (; k + kBlock <= n; k += kBlock) {
        uint64_t any = 0;
        for (int64_t at = k; at < k + kBlock; at += 8) {
            uint64_t word = 0;
            std::memcpy(&word, bytes + at, 8);
            any |= word;
        }
        if (any != 0) break;
    }
    return first_other(bytes, k, n, 0);
}

// Votes of `n` voxels of a row, one byte each. Steps of 1 are loops of their own, and vector instructions.
template <class Label>
void read_votes(const Label* labels, int64_t step, int64_t n, int n_labels, uint8_t* votes) {
    for (int64_t k = 0; k < n; ++k) votes[k] = static_cast<uint8_t>(vote_of(labels[k * step], n_labels));
}

void keep_masked(const uint8_t* mask, int64_t step, int64_t n, uint8_t* votes) {
    for (int64_t k = 0; k < n; ++k) votes[k] = mask[k * step] != 0 ? votes[k] : uint8_t{0};
}

// What alone can tell background: labels of one byte, but not a regression, which is seldom exactly 0.
View<const uint8_t, 3> bytes_of(const View<const uint8_t, 3>& labels) { return labels; }
View<const uint8_t, 3> bytes_of(const View<const float, 3>&) { return {}; }

template <class Label>
struct Counter {
    View<const Label, 3> labels;
    View<const uint8_t, 3> mask;
    int n_labels;
    BoxCounts counts;

    // Counts the runs in votes [k, n) of row (a, b), whose voxel 0 is voxel `origin` of the row.
    void count_runs(const uint8_t* votes, int64_t k, int64_t n, int64_t a, int64_t b, int64_t origin) const {
        while (k < n) {
            const uint8_t label = votes[k];
            const int64_t stop = label == 0 ? first_voter(votes, k, n) : first_other(votes, k + 1, n, label);
            if (const int vote = vote_of(label, n_labels); vote != 0) {
                counts.add_run(vote, a, b, origin + k, origin + stop);
            }
            k = stop;
        }
    }

    void count_rows(int64_t begin, int64_t end) const {
        const View<const uint8_t, 3> scanned = mask.data != nullptr ? mask : bytes_of(labels);
        const bool skips = scanned.data != nullptr && scanned.stride[2] == 1;
        const bool skips_rows = skips && is_contiguous(scanned);
        const bool reads_labels = skips && mask.data == nullptr;
        const int64_t side = labels.shape[2];
        for (int64_t row = begin; row < end; ++row) {
            int64_t k = 0;
            if (skips_rows) {
                const int64_t voter = first_voter(scanned.data, row * side, end * side);
                row = voter / side;
                k = voter % side;
                if (row == end) break;
            }
            const int64_t a = row / labels.shape[1];
            const int64_t b = row % labels.shape[1];
            if (reads_labels) {
                count_runs(&scanned(a, b, 0), k, side, a, b, 0);
                continue;
            }
            while (k < side) {
                if (skips) k = first_voter(&scanned(a, b, 0), k, side);
                const int64_t n = std::min(kBlock, side - k);
                uint8_t votes[kBlock];
                if (n == 0) break;
                read_votes(&labels(a, b, k), labels.stride[2], n, n_labels, votes);
                if (mask.data != nullptr) keep_masked(&mask(a, b, k), mask.stride[2], n, votes);
                count_runs(votes, 0, n, a, b, k);
                k += n;
            }
        }
    }
};

}  // namespace

template <class Label>
void count_votes(const View<const Label, 3>& labels, const View<const uint8_t, 3>& mask, const int64_t (&first)[3],
                 const VoteCounts& counts, int threads) {
    const int64_t voxels = checked_product({labels.shape[0], labels.shape[1], labels.shape[2]});
    if (voxels == 0) return;
    const auto size = static_cast<size_t>(checked_product({counts.n_labels, counts.width()}));
    const std::array<int, 3> order = reading_order(labels, mask);
    const Counter<Label> all{permuted(labels, order), permuted(mask, order), counts.n_labels, {counts, first, order}};
    const int64_t rows = all.labels.shape[0] * all.labels.shape[1];
    // Of labels under a mask hardly more than the mask is read.
    const int64_t bytes = checked_product({voxels, mask.data != nullptr ? 1 : int64_t{sizeof(Label)}});
    const int useful = threads_worth(bytes, threads);

    std::vector<std::vector<int64_t>> partial(static_cast<size_t>(chunk_count(rows, useful)));
    parallel_chunks(rows, useful, [&](int64_t begin, int64_t end, int64_t chunk) {
        Counter<Label> counter = all;
        if (chunk != 0) {
            std::vector<int64_t>& own = partial[static_cast<size_t>(chunk)];
            own.resize(size);
            counter.counts.data = own.data();
        }
        counter.count_rows(begin, end);
    });
    for (const std::vector<int64_t>& own : partial) {
        for (size_t i = 0; i < own.size(); ++i) counts.data[i] += own[i];
    }
}

template void count_votes(const View<const uint8_t, 3>&, const View<const uint8_t, 3>&, const int64_t (&)[3],
                          const VoteCounts&, int);
template void count_votes(const View<const float, 3>&, const View<const uint8_t, 3>&, const int64_t (&)[3],
                          const VoteCounts&, int);

void vote_statistics(const VoteCounts& counts, const VoteStatistics& out, int threads) {
    const int64_t bytes = checked_product({counts.n_labels, counts.width(), int64_t{sizeof(int64_t)}});
    parallel_chunks(counts.n_labels * int64_t{3}, threads_worth(bytes, threads),
                    [&](int64_t begin, int64_t end, int64_t) {
                        for (int64_t index = begin; index < end; ++index) write_statistics(counts, index, out);
                    });
}

}  // namespace spf
