// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "kernels/discs.h"
#include "kernels/discs_lines.h"
#include "support/stream.h"

namespace spf::test {
namespace {

// Crops and shapes that are near each other, wherever on the grid.
struct Scene {
    Spacing spacing{};
    std::vector<int64_t> origins, crop_of;
    std::vector<double> low, high, radii;  // ends of segments, or in `low` centres
    std::vector<uint8_t> values;
    bool all_in_all = false;

    Scene(Random& random, const int64_t (&shape)[4]) {
        const double spacings[] = {1.0, 0.5, 0.75, 3.3};
        spacing = {spacings[random.whole(0, 3)], spacings[random.whole(0, 3)], spacings[random.whole(0, 3)]};
        const int64_t places[] = {
            0, 0, 0, -7, int64_t{1} << 31, int64_t{1} << 53, -(int64_t{1} << 62), int64_t{1} << 62};
        const int64_t place = places[random.whole(0, 7)];
        for (int64_t c = 0; c < 3 * shape[0]; ++c) {
            const int64_t far = int64_t{1} << 62;
            origins.push_back(std::clamp(random.whole(0, 1) * place + random.whole(-4, 4), -far, far));
        }
        all_in_all = shape[0] == 0 || random.whole(0, 1) == 0;
        // Up to more than one launch of the CUDA form holds.
        const int64_t m = random.whole(0, 3) == 0 ? random.whole(0, 60) : random.whole(0, 5);
        const bool quarters = random.whole(0, 1) == 0;  // meet the borders of slabs and the radius exactly
        for (int64_t s = 0; s < m; ++s) {
            const int64_t crop = shape[0] > 0 ? random.whole(0, shape[0] - 1) : 0;
            crop_of.push_back(crop);
            values.push_back(static_cast<uint8_t>(random.whole(0, 26)));
            radii.push_back(quarters ? static_cast<double>(random.whole(0, 40)) / 4 : random.real(0.0, 14.0));
            for (size_t axis = 0; axis < 3; ++axis) {
                const double at =
                    shape[0] > 0 ? static_cast<double>(origins[static_cast<size_t>(3 * crop) + axis]) : 0.0;
                const double from = random.real(-6.0, 30.0);
                const double to = random.whole(0, 4) == 0 ? from : random.real(-6.0, 30.0);
                low.push_back(at + (quarters ? std::round(4 * from) / 4 : from));
                high.push_back(at + (quarters ? std::round(4 * to) / 4 : to));
            }
        }
    }

    int64_t shapes() const { return static_cast<int64_t>(radii.size()); }
    const int64_t* crops() const { return all_in_all ? nullptr : crop_of.data(); }
};

bool disc_covers(const Scene& scene, size_t s, int64_t i, int64_t j, int64_t k) {
    const double* a = &scene.low[3 * s];
    const double* b = &scene.high[3 * s];
    if (a[2] > b[2]) std::swap(a, b);
    if (k < static_cast<int64_t>(std::floor(a[2] + 0.5)) || k > static_cast<int64_t>(std::floor(b[2] + 0.5)))
        return false;
    Disc disc{};
    disc.x = a[0] * scene.spacing.x;
    disc.y = a[1] * scene.spacing.y;
    disc.z = a[2];
    disc.dx = b[0] * scene.spacing.x - disc.x;
    disc.dy = b[1] * scene.spacing.y - disc.y;
    disc.dz = b[2] - a[2];
    const double x = static_cast<double>(i) * scene.spacing.x;
    const double y = static_cast<double>(j) * scene.spacing.y;
    return distance2(chord_of(disc, k), x, y) <= scene.radii[s] * scene.radii[s];
}

bool sphere_covers(const Scene& scene, size_t s, int64_t i, int64_t j, int64_t k) {
    const double* centre = &scene.low[3 * s];
    Sphere sphere{};
    sphere.x = centre[0] * scene.spacing.x;
    sphere.y = centre[1] * scene.spacing.y;
    sphere.z = centre[2] * scene.spacing.z;
    return distance2(sphere, scene.spacing, i, j, k) <= scene.radii[s] * scene.radii[s];
}

// Voxel after voxel, shape after shape.
template <class Covers>
std::vector<uint8_t> painted(const Scene& scene, const int64_t (&shape)[4], const Covers& covers) {
    std::vector<uint8_t> voxels;
    for (int64_t c = 0; c < shape[0]; ++c) {
        const int64_t* at = &scene.origins[static_cast<size_t>(3 * c)];
        for (int64_t i = 0; i < shape[1]; ++i) {
            for (int64_t j = 0; j < shape[2]; ++j) {
                for (int64_t k = 0; k < shape[3]; ++k) {
                    uint8_t value = 0;
                    for (size_t s = 0; s < scene.radii.size(); ++s) {
                        const bool here = scene.all_in_all || scene.crop_of[s] == c;
                        if (here && covers(scene, s, at[0] + i, at[1] + j, at[2] + k)) value = scene.values[s];
                    }
                    voxels.push_back(value);
                }
            }
        }
    }
    return voxels;
}

void check_equal(const Crops8& out, const std::vector<uint8_t>& expected) {
    size_t at = 0;
    for (int64_t c = 0; c < out.shape[0]; ++c) {
        for (int64_t i = 0; i < out.shape[1]; ++i) {
            for (int64_t j = 0; j < out.shape[2]; ++j) {
                for (int64_t k = 0; k < out.shape[3]; ++k) CHECK(out(c, i, j, k) == expected[at++]);
            }
        }
    }
}

// What the CUDA form does, one thread of a warp after the other.
template <class Shape>
void rasterize_like_cuda(const Crops8& out, const std::vector<Shape>& shapes, const Spacing& spacing) {
    constexpr int kWarp = 32;
    for_each_launch(out, shapes, spacing, [](int64_t rows, const Lines<Shape>& lines) {
        for (int64_t row = 0; row < rows; ++row) {
            const auto line = lines.line_of(row);
            uint32_t met = 0;
            for (int lane = 0; lane < kWarp; ++lane) met |= uint32_t{lines.meets(lane, line)} << lane;
            for (int lane = 0; lane < kWarp; ++lane) lines.paint(line, met, lane, kWarp);
        }
    });
}

void rasterize(Random& random) {
    const int64_t shape[4] = {random.whole(0, 4), random.side(26), random.side(24), random.side(40)};
    const Scene scene(random, shape);
    const auto make = [&](auto maker, const std::vector<double>& points, const Crops8& out) {
        return maker(points.data(), scene.radii.data(), scene.values.data(), scene.crops(), scene.shapes(),
                     scene.spacing, out, scene.origins.data());
    };
    std::vector<double> segments;
    for (size_t s = 0; s < scene.radii.size(); ++s) {
        for (const auto& ends : {scene.low, scene.high}) {
            segments.insert(segments.end(), &ends[3 * s], &ends[3 * s] + 3);
        }
    }
    const std::vector<uint8_t> discs = painted(scene, shape, disc_covers);
    const std::vector<uint8_t> spheres = painted(scene, shape, sphere_covers);
    for (const int threads : kThreads) {
        Block<uint8_t, 4> out(random, shape);
        std::fill_n(out.memory.get(), out.size, uint8_t{99});
        rasterize_discs(out.view, make(make_discs, segments, out.view), scene.spacing, threads);
        check_equal(out.view, discs);
        rasterize_spheres(out.view, make(make_spheres, scene.low, out.view), scene.spacing, threads);
        check_equal(out.view, spheres);
    }
    Block<uint8_t, 4> out(random, shape);
    std::fill_n(out.memory.get(), out.size, uint8_t{99});
    rasterize_like_cuda(out.view, make(make_discs, segments, out.view), scene.spacing);
    check_equal(out.view, discs);
    rasterize_like_cuda(out.view, make(make_spheres, scene.low, out.view), scene.spacing);
    check_equal(out.view, spheres);
}

void clear_past_caches_and_nothing_beside(Random& random) {
    std::vector<uint8_t> bytes(static_cast<size_t>(random.whole(0, 20000)), 99);
    const auto size = static_cast<int64_t>(bytes.size());
    const int64_t first = random.whole(0, size);
    const int64_t n = random.whole(0, size - first);
    clear_past_caches(bytes.data() + first, n);
    for (int64_t i = 0; i < size; ++i) {
        CHECK(bytes[static_cast<size_t>(i)] == (i >= first && i < first + n ? 0 : 99));
    }
}

}  // namespace

void test_discs() {
    Random random(2);
    for (int i = 0; i < 50; ++i) clear_past_caches_and_nothing_beside(random);
    for (int i = 0; i < 300; ++i) rasterize(random);
}

}  // namespace spf::test
