// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "check.h"
#include "kernels/stitch.h"

namespace spf::test {
namespace {

using Origins = std::vector<int64_t>;

Origins draw_origins(Random& random, int64_t n) {
    Origins origins;
    for (int64_t i = 0; i < 3 * n; ++i) {
        const int64_t far = int64_t{1} << 62;
        origins.push_back(random.whole(0, 20) == 0 ? (random.whole(0, 1) == 0 ? far : -far) : random.whole(-9, 12));
    }
    return origins;
}

bool inside(int64_t index, int64_t n) { return index >= 0 && index < n; }

template <class In, class Out>
void extract(Random& random) {
    const int64_t shape[3] = {random.side(9), random.side(8), random.side(11)};
    const int64_t patch[4] = {random.whole(0, 4), random.side(7), random.side(6), random.side(9)};
    const Origins origins = draw_origins(random, patch[0]);
    const Normalisation normalisation{10.0F, 0.5F, -40.0F, 40.0F};
    Block<In, 3> volume(random, shape);
    for (int64_t i = 0; i < volume.size; ++i) {
        const auto value = static_cast<float>(random.whole(0, 100));
        if constexpr (std::is_arithmetic_v<In>) {
            volume.memory[static_cast<size_t>(i)] = static_cast<In>(value);
        } else {
            volume.memory[static_cast<size_t>(i)] = from_float<In>(value);
        }
    }
    for (const int threads : kThreads) {
        Block<Out, 4> out(random, patch, true);
        extract_patches(volume.read(), origins.data(), normalisation, -5.0F, out.view, threads);
        for (int64_t p = 0; p < patch[0]; ++p) {
            for (int64_t i = 0; i < patch[1]; ++i) {
                for (int64_t j = 0; j < patch[2]; ++j) {
                    for (int64_t k = 0; k < patch[3]; ++k) {
                        const int64_t* at = origins.data() + 3 * p;
                        const int64_t x = at[0] + i, y = at[1] + j, z = at[2] + k;
                        float expected = -5.0F;
                        if (inside(x, shape[0]) && inside(y, shape[1]) && inside(z, shape[2])) {
                            expected = normalised(to_float(volume.view(x, y, z)), normalisation);
                        }
                        CHECK(to_float(out.view(p, i, j, k)) == expected);
                    }
                }
            }
        }
    }
}

// Every way of stitching on the same patches, each against a loop over patches and voxels in order.
template <class In>
void stitch(Random& random) {
    const int64_t shape[3] = {random.side(9), random.side(8), random.side(11)};
    const int64_t sides[5] = {random.whole(0, 5), 2, random.side(7), random.side(6), random.side(9)};
    const int64_t patch[3] = {sides[2], sides[3], sides[4]};
    const int64_t margin[3] = {random.whole(0, 3), random.whole(0, 3), random.whole(0, 3)};
    const int64_t channels[4] = {2, shape[0], shape[1], shape[2]};
    const Origins origins = draw_origins(random, sides[0]);
    Block<In, 5> patches(random, sides, true);
    for (int64_t i = 0; i < patches.size; ++i) {
        patches.memory[static_cast<size_t>(i)] = from_float<In>(static_cast<float>(random.real(-3.0, 3.0)));
    }
    Block<float, 3> window(random, patch, true);
    for (int64_t i = 0; i < window.size; ++i) window.memory[static_cast<size_t>(i)] = static_cast<float>(i % 7);

    Block<float, 4> values(random, channels), total(random, channels);
    Block<uint8_t, 3> mask(random, shape);
    Block<float, 3> share(random, shape), weight(random, shape);
    for (int64_t p = 0; p < sides[0]; ++p) {
        for (int64_t i = 0; i < patch[0]; ++i) {
            for (int64_t j = 0; j < patch[1]; ++j) {
                for (int64_t k = 0; k < patch[2]; ++k) {
                    const int64_t* at = origins.data() + 3 * p;
                    const int64_t x = at[0] + i, y = at[1] + j, z = at[2] + k;
                    if (!inside(x, shape[0]) || !inside(y, shape[1]) || !inside(z, shape[2])) continue;
                    const float zero = to_float(patches.view(p, 0, i, j, k));
                    const float one = to_float(patches.view(p, 1, i, j, k));
                    const float counts = window.view(i, j, k);
                    weight.view(x, y, z) += counts;
                    total.view(0, x, y, z) += counts * zero;
                    total.view(1, x, y, z) += counts * one;
                    const auto kept = [&](int axis, int64_t at_axis) {
                        return at_axis >= margin[axis] && at_axis < patch[axis] - margin[axis];
                    };
                    if (!kept(0, i) || !kept(1, j) || !kept(2, k)) continue;
                    values.view(0, x, y, z) = zero;
                    values.view(1, x, y, z) = one;
                    mask.view(x, y, z) = one > zero ? 1 : 0;
                    share.view(x, y, z) = static_cast<float>(1.0 / (1.0 + std::exp(double{zero} - double{one})));
                }
            }
        }
    }

    for (const int threads : kThreads) {
        Block<float, 4> got_values(random, channels), got_total(random, channels);
        Block<uint8_t, 3> got_mask(random, shape);
        Block<float, 3> got_share(random, shape), got_weight(random, shape);
        stitch_patches(patches.read(), origins.data(), margin, got_values.view, threads);
        stitch_mask(patches.read(), origins.data(), margin, got_mask.view, threads);
        stitch_probability(patches.read(), origins.data(), margin, got_share.view, threads);
        blend_patches(patches.read(), origins.data(), window.read(), got_total.view, got_weight.view, threads);
        for (int64_t x = 0; x < shape[0]; ++x) {
            for (int64_t y = 0; y < shape[1]; ++y) {
                for (int64_t z = 0; z < shape[2]; ++z) {
                    for (int64_t channel = 0; channel < 2; ++channel) {
                        CHECK(got_values.view(channel, x, y, z) == values.view(channel, x, y, z));
                        CHECK(got_total.view(channel, x, y, z) == total.view(channel, x, y, z));
                    }
                    CHECK(got_mask.view(x, y, z) == mask.view(x, y, z));
                    CHECK(got_weight.view(x, y, z) == weight.view(x, y, z));
                    CHECK(std::abs(got_share.view(x, y, z) - share.view(x, y, z)) <= 1e-6F);
                }
            }
        }
    }
}

}  // namespace

void test_stitch() {
    Random random(1);
    for (int round = 0; round < 40; ++round) {
#define SPF_TRY(In, Out) extract<In, Out>(random);
        SPF_FOR_EVERY_EXTRACTION(SPF_TRY)
#undef SPF_TRY
        stitch<float>(random);
        stitch<Half>(random);
        stitch<Bfloat16>(random);
    }
}

}  // namespace spf::test
