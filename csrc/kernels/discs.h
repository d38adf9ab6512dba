// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "support/view.h"

namespace spf {

using Volume8 = View<uint8_t, 3>;

/// Distance between neighbouring voxel centres, mm.
struct Spacing {
    double x, y, z;
};

/// A stack of axial discs around one segment. Plane k owns the slab [k - 0.5, k + 0.5) of continuous voxel index z.
struct Disc {
    double x, y, z;     // lower end: x and y in mm, z in planes
    double dx, dy, dz;  // from the lower to the upper end
    double radius2;     // mm^2
    Box box;            // no voxel outside is covered
    uint8_t value;
};

struct Sphere {
    double x, y, z;  // mm
    double radius2;  // mm^2
    Box box;
    uint8_t value;
};

/// The part of a segment inside the slab of one plane, projected into the plane, mm.
struct Chord {
    double x, y;    // one end
    double ex, ey;  // to the other end
    double scale;   // 1 / length^2; 0 where the chord is a point
};

SPF_HD inline double clamp01(double t) { return t < 0.0 ? 0.0 : (t > 1.0 ? 1.0 : t); }

SPF_HD inline Chord chord_of(const Disc& disc, int64_t k) {
    const double below = static_cast<double>(k) - 0.5 - disc.z;
    const double above = static_cast<double>(k) + 0.5 - disc.z;
    const double t0 = disc.dz > 0.0 ? clamp01(below / disc.dz) : 0.0;
    const double t1 = disc.dz > 0.0 ? clamp01(above / disc.dz) : 1.0;
    Chord chord;
    chord.x = disc.x + t0 * disc.dx;
    chord.y = disc.y + t0 * disc.dy;
    chord.ex = disc.x + t1 * disc.dx - chord.x;
    chord.ey = disc.y + t1 * disc.dy - chord.y;
    const double length2 = chord.ex * chord.ex + chord.ey * chord.ey;
    chord.scale = length2 > 1e-30 ? 1.0 / length2 : 0.0;  // shorter is a point, and 1 / length^2 could overflow
    return chord;
}

/// Whether the point (x, y), mm, is within the radius of the chord.
SPF_HD inline bool covers(const Chord& chord, double radius2, double x, double y) {
    const double px = x - chord.x;
    const double py = y - chord.y;
    const double t = clamp01((px * chord.ex + py * chord.ey) * chord.scale);
    const double rx = px - t * chord.ex;
    const double ry = py - t * chord.ey;
    return rx * rx + ry * ry <= radius2;
}

SPF_HD inline bool covers(const Disc& disc, const Spacing& spacing, int64_t i, int64_t j, int64_t k) {
    return covers(chord_of(disc, k), disc.radius2, static_cast<double>(i) * spacing.x,
                  static_cast<double>(j) * spacing.y);
}

SPF_HD inline bool covers(const Sphere& sphere, const Spacing& spacing, int64_t i, int64_t j, int64_t k) {
    const double x = static_cast<double>(i) * spacing.x - sphere.x;
    const double y = static_cast<double>(j) * spacing.y - sphere.y;
    const double z = static_cast<double>(k) * spacing.z - sphere.z;
    return x * x + y * y + z * z <= sphere.radius2;
}

/// Discs from segments_vox (n, 2, 3), radii_mm (n) and values (n), all C-contiguous, for a volume of `shape` voxels.
std::vector<Disc> make_discs(const double* segments_vox, const double* radii_mm, const uint8_t* values, int64_t n,
                             const Spacing& spacing, const int64_t (&shape)[3]);

/// Spheres from centres_vox (n, 3), radii_mm (n) and values (n), all C-contiguous, for a volume of `shape` voxels.
std::vector<Sphere> make_spheres(const double* centres_vox, const double* radii_mm, const uint8_t* values, int64_t n,
                                 const Spacing& spacing, const int64_t (&shape)[3]);

/// Clears `out` and paints the shapes in order: a later one overwrites an earlier one.
void rasterize_discs(const Volume8& out, const std::vector<Disc>& discs, const Spacing& spacing, int threads);
void rasterize_spheres(const Volume8& out, const std::vector<Sphere>& spheres, const Spacing& spacing, int threads);

/// The same on a CUDA device: `out` points to device memory, the work is queued on `stream` and not waited for.
void rasterize_discs_cuda(const Volume8& out, const std::vector<Disc>& discs, const Spacing& spacing, void* stream);
void rasterize_spheres_cuda(const Volume8& out, const std::vector<Sphere>& spheres, const Spacing& spacing,
                            void* stream);

}  // namespace spf
