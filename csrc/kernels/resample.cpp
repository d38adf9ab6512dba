// SPDX-License-Identifier: Apache-2.0
#include "kernels/resample.h"

#include <algorithm>
#include <vector>

#include "support/parallel.h"

namespace spf {
namespace {

// sum[i] += weight * row[i]; the usual steps, forwards and backwards, are loops of their own, so that they vectorise.
template <class In>
void add_row(const In* SPF_RESTRICT row, int64_t step, float weight, float* SPF_RESTRICT sum, int64_t n) {
    if (step == 1) {
        for (int64_t i = 0; i < n; ++i) sum[i] += weight * static_cast<float>(row[i]);
    } else if (step == -1) {
        for (int64_t i = 0; i < n; ++i) sum[i] += weight * static_cast<float>(row[-i]);
    } else {
        for (int64_t i = 0; i < n; ++i) sum[i] += weight * static_cast<float>(row[i * step]);
    }
}

}  // namespace

template <class In>
void resample(const View<const In, 3>& volume, const Taps (&taps)[3], const View<float, 3>& out, int threads) {
    // Along the slowest axis first: the volume is read front to back, whatever its layout, and a third of it is gone
    // before the next axis. Each new slice needs one plane of floats, and no copy of the volume is ever made.
    const std::array<int, 3> order = memory_order(volume);
    const View<const In, 3> from = permuted(volume, order);
    const View<float, 3> to = permuted(out, order);
    const Taps& slow = taps[order[0]];
    const Taps& middle = taps[order[1]];
    const Taps& fast = taps[order[2]];
    const int64_t rows = from.shape[1];
    const int64_t columns = from.shape[2];
    const auto bytes = static_cast<double>(from.shape[0]) * static_cast<double>(rows) * static_cast<double>(columns) *
                       static_cast<double>(sizeof(In));
    threads = threads_worth(static_cast<int64_t>(std::min(bytes, 1e18)), threads);
    parallel_chunks(to.shape[0], threads, [&](int64_t begin, int64_t end, int64_t) {
        std::vector<float> plane(static_cast<size_t>(rows * columns));
        std::vector<float> line(static_cast<size_t>(columns));
        for (int64_t i = begin; i < end; ++i) {
            std::fill(plane.begin(), plane.end(), 0.0F);
            for (int64_t k = 0; k < slow.width; ++k) {
                const float weight = slow.weight[i * slow.width + k];
                if (weight == 0.0F) continue;
                const In* slice = from.data + (slow.first[i] + k) * from.stride[0];
                for (int64_t row = 0; row < rows; ++row) {
                    add_row(slice + row * from.stride[1], from.stride[2], weight, plane.data() + row * columns,
                            columns);
                }
            }
            for (int64_t j = 0; j < to.shape[1]; ++j) {
                std::fill(line.begin(), line.end(), 0.0F);
                for (int64_t k = 0; k < middle.width; ++k) {
                    const float weight = middle.weight[j * middle.width + k];
                    if (weight == 0.0F) continue;
                    add_row(plane.data() + (middle.first[j] + k) * columns, 1, weight, line.data(), columns);
                }
                float* written = to.data + i * to.stride[0] + j * to.stride[1];
                for (int64_t l = 0; l < to.shape[2]; ++l) {
                    float sum = 0.0F;
                    for (int64_t k = 0; k < fast.width; ++k) {
                        const float weight = fast.weight[l * fast.width + k];
                        if (weight != 0.0F) sum += weight * line[static_cast<size_t>(fast.first[l] + k)];
                    }
                    written[l * to.stride[2]] = sum;
                }
            }
        }
    });
}

#define SPF_RESAMPLE(In) \
    template void resample<In>(const View<const In, 3>&, const Taps(&)[3], const View<float, 3>&, int);
SPF_FOR_EVERY_RESAMPLING(SPF_RESAMPLE)
#undef SPF_RESAMPLE

}  // namespace spf
