// SPDX-License-Identifier: Apache-2.0
#include "kernels/discs.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "support/parallel.h"

namespace spf {
namespace {

// Compared as doubles first: a coordinate far outside the volume does not fit into an integer.
int64_t clamped_index(double index, int64_t n) {
    if (!(index > 0.0)) return 0;
    return index < static_cast<double>(n) ? static_cast<int64_t>(index) : n;
}

// Voxels within `radius` of [low, high], all mm, along one axis. One voxel is added on each side because the exact test
// rounds otherwise than this division.
void bound(Box& box, int axis, double low, double high, double radius, double spacing, int64_t n) {
    box.lo[axis] = clamped_index(std::floor((low - radius) / spacing) - 1.0, n);
    box.hi[axis] = clamped_index(std::ceil((high + radius) / spacing) + 2.0, n);
}

void clear(const Volume8& out, const Box& box) {
    if (box.empty()) return;
    const std::array<int, 3> order = memory_order(out);
    const int inner = order[2];
    // From the lowest address, whatever the strides' signs: what is cleared first does not matter.
    const int64_t last = out.stride[inner] < 0 ? box.hi[inner] - 1 : box.lo[inner];
    const int64_t step = std::abs(out.stride[inner]);
    const int64_t length = box.extent(inner);
    for (int64_t a = box.lo[order[0]]; a < box.hi[order[0]]; ++a) {
        for (int64_t b = box.lo[order[1]]; b < box.hi[order[1]]; ++b) {
            uint8_t* row = out.data + a * out.stride[order[0]] + b * out.stride[order[1]] + last * out.stride[inner];
            if (step == 1) {
                std::memset(row, 0, static_cast<size_t>(length));
            } else {
                for (int64_t c = 0; c < length; ++c) row[c * step] = 0;
            }
        }
    }
}

template <class Covers>
void paint(const Volume8& out, const Box& box, uint8_t value, const Covers& covered) {
    for (int64_t i = box.lo[0]; i < box.hi[0]; ++i) {
        for (int64_t j = box.lo[1]; j < box.hi[1]; ++j) {
            uint8_t* row = &out(i, j, 0);
            for (int64_t k = box.lo[2]; k < box.hi[2]; ++k) {
                if (covered(i, j, k)) row[k * out.stride[2]] = value;
            }
        }
    }
}

// Each thread clears and paints its own range along the slowest axis, every shape in order: so the order of painting
// holds for every voxel, and no voxel belongs to two threads.
template <class Shape, class Paint>
void rasterize(const Volume8& out, const std::vector<Shape>& shapes, int threads, const Paint& paint_shape) {
    if (whole(out).empty()) return;
    const int slowest = memory_order(out)[0];
    parallel_chunks(out.shape[slowest], threads, [&](int64_t begin, int64_t end, int64_t) {
        Box part = whole(out);
        part.lo[slowest] = begin;
        part.hi[slowest] = end;
        clear(out, part);
        for (const Shape& shape : shapes) {
            const Box box = intersection(shape.box, part);
            if (!box.empty()) paint_shape(shape, box);
        }
    });
}

}  // namespace

std::vector<Disc> make_discs(const double* segments_vox, const double* radii_mm, const uint8_t* values, int64_t n,
                             const Spacing& spacing, const int64_t (&shape)[3]) {
    std::vector<Disc> discs(static_cast<size_t>(n));
    for (int64_t s = 0; s < n; ++s) {
        const double* low = segments_vox + 6 * s;
        const double* high = low + 3;
        if (low[2] > high[2]) std::swap(low, high);
        Disc& disc = discs[static_cast<size_t>(s)];
        disc.x = low[0] * spacing.x;
        disc.y = low[1] * spacing.y;
        disc.z = low[2];
        disc.dx = high[0] * spacing.x - disc.x;
        disc.dy = high[1] * spacing.y - disc.y;
        disc.dz = high[2] - low[2];
        disc.radius2 = radii_mm[s] * radii_mm[s];
        disc.value = values[s];
        bound(disc.box, 0, std::min(disc.x, disc.x + disc.dx), std::max(disc.x, disc.x + disc.dx), radii_mm[s],
              spacing.x, shape[0]);
        bound(disc.box, 1, std::min(disc.y, disc.y + disc.dy), std::max(disc.y, disc.y + disc.dy), radii_mm[s],
              spacing.y, shape[1]);
        disc.box.lo[2] = clamped_index(std::floor(low[2] + 0.5), shape[2]);
        disc.box.hi[2] = clamped_index(std::floor(high[2] + 0.5) + 1.0, shape[2]);
    }
    return discs;
}

std::vector<Sphere> make_spheres(const double* centres_vox, const double* radii_mm, const uint8_t* values, int64_t n,
                                 const Spacing& spacing, const int64_t (&shape)[3]) {
    std::vector<Sphere> spheres(static_cast<size_t>(n));
    for (int64_t s = 0; s < n; ++s) {
        const double* centre = centres_vox + 3 * s;
        Sphere& sphere = spheres[static_cast<size_t>(s)];
        sphere.x = centre[0] * spacing.x;
        sphere.y = centre[1] * spacing.y;
        sphere.z = centre[2] * spacing.z;
        sphere.radius2 = radii_mm[s] * radii_mm[s];
        sphere.value = values[s];
        bound(sphere.box, 0, sphere.x, sphere.x, radii_mm[s], spacing.x, shape[0]);
        bound(sphere.box, 1, sphere.y, sphere.y, radii_mm[s], spacing.y, shape[1]);
        bound(sphere.box, 2, sphere.z, sphere.z, radii_mm[s], spacing.z, shape[2]);
    }
    return spheres;
}

void rasterize_discs(const Volume8& out, const std::vector<Disc>& discs, const Spacing& spacing, int threads) {
    rasterize(out, discs, threads, [&](const Disc& disc, const Box& box) {
        std::vector<Chord> chords;  // one per plane: every column of voxels asks for the same ones
        chords.reserve(static_cast<size_t>(box.extent(2)));
        for (int64_t k = box.lo[2]; k < box.hi[2]; ++k) chords.push_back(chord_of(disc, k));
        paint(out, box, disc.value, [&](int64_t i, int64_t j, int64_t k) {
            return covers(chords[static_cast<size_t>(k - box.lo[2])], disc.radius2, static_cast<double>(i) * spacing.x,
                          static_cast<double>(j) * spacing.y);
        });
    });
}

void rasterize_spheres(const Volume8& out, const std::vector<Sphere>& spheres, const Spacing& spacing, int threads) {
    rasterize(out, spheres, threads, [&](const Sphere& sphere, const Box& box) {
        paint(out, box, sphere.value,
              [&](int64_t i, int64_t j, int64_t k) { return covers(sphere, spacing, i, j, k); });
    });
}

}  // namespace spf
