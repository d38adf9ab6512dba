// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "support/view.h"

namespace spf {

/// Distance between neighbouring voxel centres, mm.
struct Spacing {
    double x, y, z;
};

/// Crops (crop, x, y, z) of one unbounded grid of voxels: crop b holds [origins[b], origins[b] + (x, y, z)).
using Crops8 = View<uint8_t, 4>;

/// Where a shape is painted. Every index is one of the unbounded grid.
struct Placement {
    int64_t crop;
    int64_t origin[3];  // of the crop
    Box box;            // of the crop's voxels: no other is covered
    uint8_t value;
};

/// The box in the crop's own indices.
inline Box local_box(const Placement& placement) {
    Box box = placement.box;
    for (int axis = 0; axis < 3; ++axis) {
        box.lo[axis] -= placement.origin[axis];
        box.hi[axis] -= placement.origin[axis];
    }
    return box;
}

/// A stack of axial discs around one segment. Plane k owns the slab [k - 0.5, k + 0.5) of continuous voxel index z, and
/// the part of the segment inside is its chord: a voxel is covered where distance2(chord, x, y) <= radius2.
///
/// Chords are consecutive parts of one line, with ends that rise with k whatever rounding does to them. So the distance
/// of a point from them falls and then rises with k, and the distance from one of them falls and then rises along x and
/// y: no voxel between two of a column or of a row is farther than both, and none of a column is nearer than the joined
/// chord of its ends. What is computed is the distance but for a margin (see discs.cpp). Hence all voxels between two
/// within `inner2` are covered, and no voxel of a column whose joined chord is beyond `outer2`.
struct Disc {
    double x, y, z;         // lower end: x and y in mm, z in planes
    double dx, dy, dz;      // from the lower to the upper end
    double radius2;         // mm^2
    double inner2, outer2;  // the same with the radius smaller and greater by the margin
    Placement placement;
};

struct Sphere {
    double x, y, z;  // mm
    double radius2;  // mm^2
    Placement placement;
};

/// A segment projected into the axial plane, mm.
struct Chord {
    double x, y;    // one end
    double ex, ey;  // to the other end
    double scale;   // 1 / length^2; 0 where the chord is a point
};

SPF_HD inline double clamp01(double t) { return t < 0.0 ? 0.0 : (t > 1.0 ? 1.0 : t); }

SPF_HD inline Chord chord_from_to(double x0, double y0, double x1, double y1) {
    Chord chord{x0, y0, x1 - x0, y1 - y0, 0.0};
    const double length2 = chord.ex * chord.ex + chord.ey * chord.ey;
    if (length2 > 1e-30) chord.scale = 1.0 / length2;  // shorter is a point, and 1 / length^2 could overflow
    return chord;
}

/// The part of a disc's segment inside the slab of plane k.
SPF_HD inline Chord chord_of(const Disc& disc, int64_t k) {
    const double below = static_cast<double>(k) - 0.5 - disc.z;
    const double above = static_cast<double>(k) + 0.5 - disc.z;
    const double t0 = disc.dz > 0.0 ? clamp01(below / disc.dz) : 0.0;
    const double t1 = disc.dz > 0.0 ? clamp01(above / disc.dz) : 1.0;
    return chord_from_to(disc.x + t0 * disc.dx, disc.y + t0 * disc.dy, disc.x + t1 * disc.dx, disc.y + t1 * disc.dy);
}

/// From the chord of one plane to that of a plane above: it holds every chord between.
SPF_HD inline Chord joined(const Chord& first, const Chord& last) {
    return chord_from_to(first.x, first.y, last.x + last.ex, last.y + last.ey);
}

/// Squared distance of the point (x, y) from the chord, mm^2.
SPF_HD inline double distance2(const Chord& chord, double x, double y) {
    const double px = x - chord.x;
    const double py = y - chord.y;
    const double t = clamp01((px * chord.ex + py * chord.ey) * chord.scale);
    const double rx = px - t * chord.ex;
    const double ry = py - t * chord.ey;
    return rx * rx + ry * ry;
}

/// Squared distance of voxel index (i, j, k) from the centre, mm^2.
SPF_HD inline double distance2(const Sphere& sphere, const Spacing& spacing, int64_t i, int64_t j, int64_t k) {
    const double x = static_cast<double>(i) * spacing.x - sphere.x;
    const double y = static_cast<double>(j) * spacing.y - sphere.y;
    const double z = static_cast<double>(k) * spacing.z - sphere.z;
    return x * x + y * y + z * z;
}

/// Discs from segments_vox (m, 2, 3), radii_mm (m), none above 1e100, and values (m): one for every crop that a segment
/// meets, or for crop crop_of[s] alone where crop_of (m) is not null. Ordered by crop, and within a crop as given. All
/// arrays, and origins (crops, 3), are C-contiguous.
std::vector<Disc> make_discs(const double* segments_vox, const double* radii_mm, const uint8_t* values,
                             const int64_t* crop_of, int64_t m, const Spacing& spacing, const Crops8& out,
                             const int64_t* origins);

/// Spheres from centres_vox (m, 3), the rest as `make_discs`.
std::vector<Sphere> make_spheres(const double* centres_vox, const double* radii_mm, const uint8_t* values,
                                 const int64_t* crop_of, int64_t m, const Spacing& spacing, const Crops8& out,
                                 const int64_t* origins);

/// Clears `out` and paints the shapes in order: a later one overwrites an earlier one.
void rasterize_discs(const Crops8& out, const std::vector<Disc>& discs, const Spacing& spacing, int threads);
void rasterize_spheres(const Crops8& out, const std::vector<Sphere>& spheres, const Spacing& spacing, int threads);

/// The same on a CUDA device: `out` points to device memory, the work is queued on `stream` and not waited for.
void rasterize_discs_cuda(const Crops8& out, const std::vector<Disc>& discs, const Spacing& spacing, void* stream);
void rasterize_spheres_cuda(const Crops8& out, const std::vector<Sphere>& spheres, const Spacing& spacing,
                            void* stream);

}  // namespace spf
