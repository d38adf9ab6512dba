// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/discs.h"
#include "support/error.h"

namespace spf {

// How the CUDA form of discs.h works, all of it but the launch: so that a machine without a GPU tests it. Crops are
// made of lines of voxels along their fastest axis. A warp does a line, and each of its threads every 32nd run of 16
// voxels.

constexpr int kRun = 16;  // one store, where the voxels lie together
constexpr uint32_t kWholeRun = 0xffff;

struct alignas(kRun) RunOfBytes {
    uint32_t words[kRun / 4];
};

SPF_HD inline int lowest_bit(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    return __ffs(static_cast<int>(bits)) - 1;
#else
    return __builtin_ctz(bits);
#endif
}

SPF_HD inline int highest_bit(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    return 31 - __clz(static_cast<int>(bits));
#else
    return 31 - __builtin_clz(bits);
#endif
}

/// The voxels [from, to) of a run as bits.
SPF_HD inline uint32_t bits_of(int64_t from, int64_t to) {
    const int64_t low = from < 0 ? 0 : from;
    const int64_t high = to > kRun ? kRun : to;
    return high > low ? (kWholeRun << low) & (kWholeRun >> (kRun - high)) : 0;
}

/// Indices of a voxel in the unbounded grid.
struct GridVoxel {
    int64_t i, j, k;
};

SPF_HD inline GridVoxel along(const GridVoxel& first, int axis, int e) {
    return {first.i + (axis == 0 ? e : 0), first.j + (axis == 1 ? e : 0), first.k + (axis == 2 ? e : 0)};
}

SPF_HD inline double distance2(const Chord& chord, const Spacing& spacing, const GridVoxel& v) {
    return distance2(chord, static_cast<double>(v.i) * spacing.x, static_cast<double>(v.j) * spacing.y);
}

/// Those of the voxels `bits`, not 0, of a run along `axis` that a shape covers.
SPF_HD inline uint32_t covered(const Disc& disc, const Spacing& spacing, const GridVoxel& first, int axis,
                               uint32_t bits) {
    const GridVoxel low = along(first, axis, lowest_bit(bits));
    const GridVoxel high = along(first, axis, highest_bit(bits));
    const Chord of_low = chord_of(disc, low.k);
    const Chord of_high = chord_of(disc, high.k);
    // `Disc` says why the two ends tell of what is between.
    if (distance2(of_low, spacing, low) <= disc.inner2 && distance2(of_high, spacing, high) <= disc.inner2) return bits;
    if (axis == 2 && distance2(joined(of_low, of_high), spacing, low) > disc.outer2) return 0;
    uint32_t hit = 0;
    for (int e = 0; e < kRun; ++e) {
        if ((bits >> e & 1) == 0) continue;
        const GridVoxel v = along(first, axis, e);
        const Chord chord = axis == 2 ? chord_of(disc, v.k) : of_low;
        if (distance2(chord, spacing, v) <= disc.radius2) hit |= uint32_t{1} << e;
    }
    return hit;
}

SPF_HD inline uint32_t covered(const Sphere& sphere, const Spacing& spacing, const GridVoxel& first, int axis,
                               uint32_t bits) {
    uint32_t hit = 0;
    for (int e = 0; e < kRun; ++e) {
        const GridVoxel v = along(first, axis, e);
        if (distance2(sphere, spacing, v.i, v.j, v.k) <= sphere.radius2) hit |= uint32_t{1} << e;
    }
    return hit & bits;
}

/// What one launch does: it clears some crops and paints some shapes.
struct Task {
    Crops8 out;          // crop, then the crop's axes from the slowest to the fastest
    int axis[3];         // which of x, y, z these are
    int64_t first[3];    // the voxels to look at, of each crop, in this order of axes
    int64_t n[3];        // how many
    int64_t crop;        // the first
    int64_t clear_from;  // crops before this one are cleared already
    Spacing spacing;
    int shapes;
};

/// Shapes are a kernel's parameters, of which 4 KB are allowed: nothing is allocated or waited for. A warp looks at 32.
template <class Shape>
constexpr int kShapesPerLaunch = static_cast<int>(std::min<size_t>(32, (4000 - sizeof(Task)) / sizeof(Shape)));

template <class Shape>
struct Lines {
    Task task;
    Shape shapes[kShapesPerLaunch<Shape>];

    struct Line {
        int64_t crop, a, b;  // a and b along the slower axes
    };

    SPF_HD Line line_of(int64_t row) const {
        const int64_t plane = row / task.n[1];
        return {task.crop + plane / task.n[0], task.first[0] + plane % task.n[0], task.first[1] + row % task.n[1]};
    }

    /// Whether shape s may cover a voxel of the line.
    SPF_HD bool meets(int64_t s, const Line& line) const {
        if (s >= task.shapes) return false;
        const Placement& shape = shapes[s].placement;
        const int64_t a = line.a + shape.origin[task.axis[0]];
        const int64_t b = line.b + shape.origin[task.axis[1]];
        return shape.crop == line.crop && shape.box.lo[task.axis[0]] <= a && a < shape.box.hi[task.axis[0]] &&
               shape.box.lo[task.axis[1]] <= b && b < shape.box.hi[task.axis[1]];
    }

    /// Clears and paints the runs first, first + step, ... of a line, where `met` has a bit for each shape that meets
    /// it.
    SPF_HD void paint(const Line& line, uint32_t met, int64_t first, int64_t step) const {
        const bool clear = line.crop >= task.clear_from;
        if (!clear && met == 0) return;
        uint8_t* voxels = &task.out(line.crop, line.a, line.b, 0);
        // Runs begin where a run of bytes may be stored as one.
        const auto address = reinterpret_cast<std::uintptr_t>(voxels + task.first[2] * task.out.stride[3]);
        const int64_t before = task.out.stride[3] == 1 ? static_cast<int64_t>(address % kRun) : 0;
        const int64_t end = task.first[2] + task.n[2];
        for (int64_t c = task.first[2] - before + kRun * first; c < end; c += kRun * step) {
            paint_run(line, voxels, c, bits_of(task.first[2] - c, end - c), met, clear);
        }
    }

    /// Sets the voxels `bits` of the run from c on. The last shape that covers a voxel wins, so it is the first looked
    /// at.
    SPF_HD void paint_run(const Line& line, uint8_t* voxels, int64_t c, uint32_t bits, uint32_t met, bool clear) const {
        RunOfBytes run{};
        uint32_t left = bits;
        while (met != 0 && left != 0) {
            const int s = highest_bit(met);
            met ^= uint32_t{1} << s;
            const Placement& shape = shapes[s].placement;
            const int64_t from = shape.origin[task.axis[2]] + c;
            const uint32_t within =
                left & bits_of(shape.box.lo[task.axis[2]] - from, shape.box.hi[task.axis[2]] - from);
            if (within == 0) continue;
            const GridVoxel first = {shape.origin[0] + index(0, line, c), shape.origin[1] + index(1, line, c),
                                     shape.origin[2] + index(2, line, c)};
            const uint32_t hit = covered(shapes[s], task.spacing, first, task.axis[2], within);
            left &= ~hit;
            for (int e = 0; e < kRun; ++e) {
                if ((hit >> e & 1) != 0) run.words[e / 4] |= uint32_t{shape.value} << 8 * (e % 4);
            }
        }
        if (clear && bits == kWholeRun && task.out.stride[3] == 1) {
            *reinterpret_cast<RunOfBytes*>(voxels + c) = run;
            return;
        }
        const uint32_t written = clear ? bits : bits & ~left;
        for (int e = 0; e < kRun; ++e) {
            if ((written >> e & 1) == 0) continue;
            voxels[(c + e) * task.out.stride[3]] = static_cast<uint8_t>(run.words[e / 4] >> 8 * (e % 4));
        }
    }

    // Index along x, y or z of voxel c of a line.
    SPF_HD int64_t index(int axis, const Line& line, int64_t c) const {
        return task.axis[0] == axis ? line.a : (task.axis[1] == axis ? line.b : c);
    }
};

/// Calls launch(rows, lines) for every launch that it takes, which must be done in this order.
///
/// The first one clears every crop, where it holds all shapes. Else further ones paint the shapes that are left and
/// clear the crops from the first of these on.
template <class Shape, class Launch>
void for_each_launch(const Crops8& out, const std::vector<Shape>& shapes, const Spacing& spacing,
                     const Launch& launch) {
    if (checked_product({out.shape[0], out.shape[1], out.shape[2], out.shape[3]}) == 0) return;
    const View<uint8_t, 3> crop{
        out.data, {out.shape[1], out.shape[2], out.shape[3]}, {out.stride[1], out.stride[2], out.stride[3]}};
    Lines<Shape> lines{};
    Task& task = lines.task;
    task.out = out;
    task.spacing = spacing;
    for (int level = 0; level < 3; ++level) {
        task.axis[level] = memory_order(crop)[static_cast<size_t>(level)];
        task.out.shape[level + 1] = crop.shape[task.axis[level]];
        task.out.stride[level + 1] = crop.stride[task.axis[level]];
    }
    const auto n = static_cast<int64_t>(shapes.size());
    int64_t done = 0;
    while (done < n || task.clear_from < out.shape[0]) {
        const Shape* group = shapes.data() + done;
        const int64_t size = std::min<int64_t>(n - done, kShapesPerLaunch<Shape>);
        done += size;
        const int64_t behind = done < n ? group[size - 1].placement.crop + 1 : out.shape[0];
        task.crop = size > 0 ? std::min(group[0].placement.crop, task.clear_from) : task.clear_from;
        task.shapes = static_cast<int>(size);
        std::copy_n(group, size, lines.shapes);
        Box box = whole(crop);
        if (behind <= task.clear_from) {
            box = {};
            for (int64_t s = 0; s < size; ++s) box = hull(box, local_box(group[s].placement));
        }
        for (int level = 0; level < 3; ++level) {
            task.first[level] = box.lo[task.axis[level]];
            task.n[level] = box.extent(task.axis[level]);
        }
        launch(checked_product({behind - task.crop, task.n[0], task.n[1]}), lines);
        task.clear_from = std::max(task.clear_from, behind);
    }
}

}  // namespace spf
