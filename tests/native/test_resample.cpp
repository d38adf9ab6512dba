// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "check.h"
#include "kernels/resample.h"

namespace spf::test {
namespace {

struct DrawnTaps {
    std::vector<int64_t> first;
    std::vector<float> weight;
    int64_t width;

    // Whole numbers as weights, so that every order of summing gives the same float; some rows reach outside with 0.
    DrawnTaps(Random& random, int64_t from, int64_t to) : width(random.whole(0, 4)) {
        for (int64_t i = 0; i < to; ++i) {
            first.push_back(random.whole(-2, from + 1));
            for (int64_t k = 0; k < width; ++k) {
                const int64_t at = first.back() + k;
                const bool inside = at >= 0 && at < from;
                weight.push_back(inside ? static_cast<float>(random.whole(0, 3)) : 0.0F);
            }
        }
    }
    Taps taps() const { return {first.data(), weight.data(), width}; }
    float at(int64_t row, int64_t voxel) const {
        const int64_t k = voxel - first[static_cast<size_t>(row)];
        return k >= 0 && k < width ? weight[static_cast<size_t>(row * width + k)] : 0.0F;
    }
};

template <class In>
void filter(Random& random) {
    const int64_t shape[3] = {random.side(7), random.side(6), random.side(9)};
    const int64_t wanted[3] = {random.side(6), random.side(7), random.side(8)};
    Block<In, 3> volume(random, shape);
    for (int64_t i = 0; i < volume.size; ++i) {
        volume.memory[static_cast<size_t>(i)] = static_cast<In>(random.whole(0, 100));
    }
    const DrawnTaps x(random, shape[0], wanted[0]), y(random, shape[1], wanted[1]), z(random, shape[2], wanted[2]);
    const Taps taps[3] = {x.taps(), y.taps(), z.taps()};
    for (const int threads : kThreads) {
        Block<float, 3> out(random, wanted);
        resample(volume.read(), taps, out.view, threads);
        for (int64_t a = 0; a < wanted[0]; ++a) {
            for (int64_t b = 0; b < wanted[1]; ++b) {
                for (int64_t c = 0; c < wanted[2]; ++c) {
                    float expected = 0.0F;
                    for (int64_t i = 0; i < shape[0]; ++i) {
                        for (int64_t j = 0; j < shape[1]; ++j) {
                            for (int64_t k = 0; k < shape[2]; ++k) {
                                expected +=
                                    x.at(a, i) * y.at(b, j) * z.at(c, k) * static_cast<float>(volume.view(i, j, k));
                            }
                        }
                    }
                    CHECK(out.view(a, b, c) == expected);
                }
            }
        }
    }
}

}  // namespace

void test_resample() {
    Random random(5);
    for (int i = 0; i < 300; ++i) {
        filter<uint8_t>(random);
        filter<int16_t>(random);
        filter<float>(random);
        filter<double>(random);
    }
}

}  // namespace spf::test
