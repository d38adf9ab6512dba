// SPDX-License-Identifier: Apache-2.0
#include "kernels/discs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "support/error.h"
#include "support/parallel.h"
#include "support/stream.h"

namespace spf {
namespace {

using Volume8 = View<uint8_t, 3>;

// What is cleared is painted while it is still in the second cache.
constexpr int64_t kBlockBytes = int64_t{1} << 18;
// What is larger than this is cleared past the caches, but where it is painted: it would not stay there.
constexpr int64_t kCachedBytes = int64_t{1} << 24;

// Compared as doubles first: a coordinate far outside does not fit into an integer.
int64_t index_of(double index) {
    if (!(index > -0x1p63)) return std::numeric_limits<int64_t>::min();
    return index < 0x1p63 ? static_cast<int64_t>(index) : std::numeric_limits<int64_t>::max();
}

// The index behind: added to the integer, because a double beyond 2^53 does not change by 1.
int64_t index_after(double index) {
    const int64_t last = index_of(index);
    return last < std::numeric_limits<int64_t>::max() ? last + 1 : last;
}

// By how much (mm) a distance may differ from the one that is computed, where no coordinate is above `largest` mm. The
// computation rounds a few dozen times, each time by 1.1e-16 of such a coordinate or less, and takes chords below 1e-15
// mm for points: a hundredth of this.
double margin_of(double largest) { return 1e-12 * (1.0 + largest); }

// Voxels within `reach` of [low, high], all mm, along one axis.
void bound(Box& box, int axis, double low, double high, double reach, double spacing) {
    box.lo[axis] = index_of(std::ceil((low - reach) / spacing));
    box.hi[axis] = index_after(std::floor((high + reach) / spacing));
}

Disc disc_of(const double* low, const double* high, double radius, uint8_t value, const Spacing& spacing) {
    if (low[2] > high[2]) std::swap(low, high);
    Disc disc{};
    disc.x = low[0] * spacing.x;
    disc.y = low[1] * spacing.y;
    disc.z = low[2];
    disc.dx = high[0] * spacing.x - disc.x;
    disc.dy = high[1] * spacing.y - disc.y;
    disc.dz = high[2] - low[2];
    disc.radius2 = radius * radius;
    disc.placement.value = value;
    const double largest = std::abs(disc.x) + std::abs(disc.y) + std::abs(disc.dx) + std::abs(disc.dy) + radius;
    const double margin = margin_of(largest);
    // Squares of greater coordinates may overflow: then nothing is known but what `distance2` says.
    const bool known = largest < 1e100;
    disc.inner2 = known && radius > margin ? (radius - margin) * (radius - margin) : -1.0;
    disc.outer2 = known ? (radius + margin) * (radius + margin) : std::numeric_limits<double>::infinity();
    const double reach = radius + margin;
    bound(disc.placement.box, 0, std::min(disc.x, disc.x + disc.dx), std::max(disc.x, disc.x + disc.dx), reach,
          spacing.x);
    bound(disc.placement.box, 1, std::min(disc.y, disc.y + disc.dy), std::max(disc.y, disc.y + disc.dy), reach,
          spacing.y);
    disc.placement.box.lo[2] = index_of(std::floor(low[2] + 0.5));
    disc.placement.box.hi[2] = index_after(std::floor(high[2] + 0.5));
    return disc;
}

Sphere sphere_of(const double* centre, double radius, uint8_t value, const Spacing& spacing) {
    Sphere sphere{};
    sphere.x = centre[0] * spacing.x;
    sphere.y = centre[1] * spacing.y;
    sphere.z = centre[2] * spacing.z;
    sphere.radius2 = radius * radius;
    sphere.placement.value = value;
    const double reach = radius + margin_of(std::abs(sphere.x) + std::abs(sphere.y) + std::abs(sphere.z) + radius);
    bound(sphere.placement.box, 0, sphere.x, sphere.x, reach, spacing.x);
    bound(sphere.placement.box, 1, sphere.y, sphere.y, reach, spacing.y);
    bound(sphere.placement.box, 2, sphere.z, sphere.z, reach, spacing.z);
    return sphere;
}

// The shapes that meet each crop, with their boxes cut to it.
template <class Shape>
std::vector<Shape> placed(const std::vector<Shape>& shapes, const int64_t* crop_of, const Crops8& out,
                          const int64_t* origins) {
    std::vector<Shape> result;
    const auto place = [&](Shape shape, int64_t crop) {
        Box window;
        shape.placement.crop = crop;
        for (int axis = 0; axis < 3; ++axis) {
            shape.placement.origin[axis] = window.lo[axis] = origins[3 * crop + axis];
            window.hi[axis] = window.lo[axis] + out.shape[axis + 1];
        }
        shape.placement.box = intersection(shape.placement.box, window);
        if (!shape.placement.box.empty()) result.push_back(shape);
    };
    if (crop_of != nullptr) {
        for (const Shape& shape : shapes) place(shape, *crop_of++);
        std::stable_sort(result.begin(), result.end(),
                         [](const Shape& a, const Shape& b) { return a.placement.crop < b.placement.crop; });
    } else {
        for (int64_t crop = 0; crop < out.shape[0]; ++crop) {
            for (const Shape& shape : shapes) place(shape, crop);
        }
    }
    return result;
}

// `n` is at least 1.
void fill_line(uint8_t* first, int64_t stride, int64_t n, uint8_t value) {
    if (stride == 1 && 16 <= n && n <= 64) {
        // A vertebra's height: the call of memset would take longer.
        for (int64_t at = 0; at < n - 16; at += 16) std::memset(first + at, value, 16);
        std::memset(first + n - 16, value, 16);
    } else if (stride == 1) {
        std::memset(first, value, static_cast<size_t>(n));
    } else {
        for (int64_t c = 0; c < n; ++c) first[c * stride] = value;
    }
}

// Calls body(first, stride, n) for lines of voxels that make up a box of `out`, not empty, in the order of memory. What
// is one piece in memory is one line.
template <class Body>
void for_lines(const Volume8& out, const Box& box, const Body& body) {
    uint8_t* first = &out(box.lo[0], box.lo[1], box.lo[2]);
    int64_t n[3];
    int64_t stride[3];
    const std::array<int, 3> order = memory_order(out);
    for (size_t level = 0; level < 3; ++level) {
        n[level] = box.extent(order[level]);
        stride[level] = out.stride[order[level]];
        if (stride[level] < 0) {
            first += (n[level] - 1) * stride[level];
            stride[level] = -stride[level];
        }
    }
    if (stride[1] == n[2] * stride[2]) {
        n[2] *= std::exchange(n[1], 1);
        if (stride[0] == n[2] * stride[2]) n[2] *= std::exchange(n[0], 1);
    }
    for (int64_t a = 0; a < n[0]; ++a) {
        for (int64_t b = 0; b < n[1]; ++b) body(first + a * stride[0] + b * stride[1], stride[2], n[2]);
    }
}

// The faster in memory of the x and the y axis.
int faster_of_x_and_y(const Volume8& out) { return std::abs(out.stride[0]) < std::abs(out.stride[1]) ? 0 : 1; }

// A shape and what painting it in one block after the other needs. Boxes are of the crop's own indices.
template <class Shape>
class Brush;

template <>
class Brush<Disc> {
  public:
    Brush(const Disc& disc, const Spacing& spacing) : disc_(disc), spacing_(spacing), box_(local_box(disc.placement)) {
        // Every column of voxels asks for the same planes.
        planes_.reserve(static_cast<size_t>(box_.extent(2)));
        const double outer = std::sqrt(disc.outer2);
        for (int64_t k = disc.placement.box.lo[2]; k < disc.placement.box.hi[2]; ++k) {
            const Chord chord = chord_of(disc, k);
            const double beyond = outer + 0.5 * std::sqrt(chord.ex * chord.ex + chord.ey * chord.ey);
            planes_.push_back({chord, chord.x + 0.5 * chord.ex, chord.y + 0.5 * chord.ey, beyond * beyond});
        }
    }

    const Box& box() const { return box_; }

    // Paints what is covered of `box`, which lies inside the shape's and is not empty. `Disc` says why so few voxels
    // are looked at.
    void paint(const Volume8& out, const Box& box) {
        const int v = faster_of_x_and_y(out);
        const int u = 1 - v;
        const Plane* plane = &planes_[static_cast<size_t>(box.lo[2] - box_.lo[2])];
        const int64_t planes = box.extent(2);
        const Chord& first = plane[0].chord;
        const Chord& last = plane[planes - 1].chord;
        const Chord all = joined(first, last);
        const int64_t (&origin)[3] = disc_.placement.origin;
        // Whether the whole column of voxels is certainly covered; if not, what is covered of it is painted.
        const auto is_full = [&](int64_t i, int64_t j) {
            const double x = static_cast<double>(origin[0] + i) * spacing_.x;
            const double y = static_cast<double>(origin[1] + j) * spacing_.y;
            if (distance2(all, x, y) > disc_.outer2) return false;
            const double first2 = distance2(first, x, y);
            const double last2 = distance2(last, x, y);
            if (first2 <= disc_.inner2 && last2 <= disc_.inner2) return true;
            // From the nearer end on, and no further than behind the planes that cover it.
            const int64_t step = last2 < first2 ? -1 : 1;
            uint8_t* column = &out(i, j, box.lo[2]);
            bool entered = false;
            for (int64_t k = step > 0 ? 0 : planes - 1; 0 <= k && k < planes; k += step) {
                const double middle2 = (x - plane[k].x) * (x - plane[k].x) + (y - plane[k].y) * (y - plane[k].y);
                if (middle2 <= disc_.inner2) {
                    column[k * out.stride[2]] = disc_.placement.value;
                    entered = true;
                } else if (middle2 > plane[k].beyond2) {
                    if (entered) break;
                } else if (distance2(plane[k].chord, x, y) <= disc_.radius2) {
                    column[k * out.stride[2]] = disc_.placement.value;
                }
            }
            return false;
        };
        for (int64_t a = box.lo[u]; a < box.hi[u]; ++a) {
            const auto is_full_at = [&](int64_t b) { return u == 0 ? is_full(a, b) : is_full(b, a); };
            Box full = box;
            full.lo[u] = a;
            full.hi[u] = a + 1;
            while (full.lo[v] < full.hi[v] && !is_full_at(full.lo[v])) ++full.lo[v];
            while (full.lo[v] < full.hi[v] && !is_full_at(full.hi[v] - 1)) --full.hi[v];
            if (full.empty()) continue;
            for_lines(out, full, [&](uint8_t* line, int64_t stride, int64_t n) {
                fill_line(line, stride, n, disc_.placement.value);
            });
        }
    }

  private:
    // The chord is at most as far away as its middle, and nearer by half its length at the most.
    struct Plane {
        Chord chord;
        double x, y;     // its middle
        double beyond2;  // squared distance from there beyond which nothing is covered
    };

    Disc disc_;
    Spacing spacing_;
    Box box_;
    std::vector<Plane> planes_;
};

template <>
class Brush<Sphere> {
  public:
    Brush(const Sphere& sphere, const Spacing& spacing)
        : sphere_(sphere), spacing_(spacing), box_(local_box(sphere.placement)) {
        for (int64_t k = sphere.placement.box.lo[2]; k < sphere.placement.box.hi[2]; ++k) {
            const double z = static_cast<double>(k) * spacing.z - sphere.z;
            z2_.push_back(z * z);
        }
    }

    const Box& box() const { return box_; }

    // Paints what is covered of `box`, which lies inside the shape's and is not empty.
    //
    // Every operation of `distance2` rounds monotonically: so a column's covered planes are one run around the nearest
    // plane, to the last bit. From column to column the run's ends move little.
    void paint(const Volume8& out, const Box& box) {
        const int v = faster_of_x_and_y(out);
        const int u = 1 - v;
        const int64_t (&origin)[3] = sphere_.placement.origin;
        const double* z2 = &z2_[static_cast<size_t>(box.lo[2] - box_.lo[2])];
        const int64_t planes = box.extent(2);
        const int64_t nearest = std::min_element(z2, z2 + planes) - z2;
        int64_t lo = nearest;
        int64_t hi = nearest;
        for (int64_t a = box.lo[u]; a < box.hi[u]; ++a) {
            for (int64_t b = box.lo[v]; b < box.hi[v]; ++b) {
                const int64_t i = u == 0 ? a : b;
                const int64_t j = u == 0 ? b : a;
                const double x = static_cast<double>(origin[0] + i) * spacing_.x - sphere_.x;
                const double y = static_cast<double>(origin[1] + j) * spacing_.y - sphere_.y;
                const double rest = x * x + y * y;
                const auto covered = [&](int64_t k) { return rest + z2[k] <= sphere_.radius2; };
                if (!covered(nearest)) continue;
                while (lo > 0 && covered(lo - 1)) --lo;
                while (!covered(lo)) ++lo;
                while (hi < planes - 1 && covered(hi + 1)) ++hi;
                while (!covered(hi)) --hi;
                fill_line(&out(i, j, box.lo[2] + lo), out.stride[2], hi - lo + 1, sphere_.placement.value);
            }
        }
    }

  private:
    Sphere sphere_;
    Spacing spacing_;
    Box box_;
    std::vector<double> z2_;  // squared distance of every plane from the centre
};

// Clears `box`, and where `past_caches` leaves only the voxels [from, to) along `axis` in them.
void clear(const Volume8& out, const Box& box, int axis, int64_t from, int64_t to, bool past_caches) {
    const auto clear_part = [&](int64_t lo, int64_t hi, bool past) {
        Box part = box;
        part.lo[axis] = lo;
        part.hi[axis] = hi;
        if (part.empty()) return;
        for_lines(out, part, [&](uint8_t* line, int64_t stride, int64_t n) {
            if (past && stride == 1) {
                clear_past_caches(line, n);
            } else {
                fill_line(line, stride, n, 0);
            }
        });
    };
    clear_part(box.lo[axis], from, past_caches);
    clear_part(from, to, false);
    clear_part(to, box.hi[axis], past_caches);
}

// Crops are cut into blocks along their slowest axis, and a block is cleared and painted, every shape in order, by one
// thread: so the order of painting holds for every voxel, and no voxel belongs to two threads. Threads take turns with
// the blocks, because the spine is only in some of them.
template <class Shape>
void rasterize(const Crops8& out, const std::vector<Shape>& shapes, const Spacing& spacing, int threads) {
    const int64_t bytes = checked_product({out.shape[0], out.shape[1], out.shape[2], out.shape[3]});
    if (bytes == 0) return;
    const Volume8 crops{
        out.data, {out.shape[1], out.shape[2], out.shape[3]}, {out.stride[1], out.stride[2], out.stride[3]}};
    const int slowest = memory_order(crops)[0];
    const int middle = memory_order(crops)[1];
    const auto meets = [slowest](const Brush<Shape>& brush, const Box& block) {
        return brush.box().lo[slowest] < block.hi[slowest] && brush.box().hi[slowest] > block.lo[slowest];
    };
    const int64_t slabs = crops.shape[slowest];
    const int64_t slabs_per_block = std::clamp<int64_t>(kBlockBytes / (bytes / out.shape[0] / slabs), 1, slabs);
    const int64_t blocks_per_crop = (slabs - 1) / slabs_per_block + 1;
    const int64_t blocks = out.shape[0] * blocks_per_crop;
    const int64_t workers = std::min<int64_t>(threads_worth(bytes, threads), blocks);
    parallel_chunks(workers, static_cast<int>(workers), [&](int64_t worker, int64_t, int64_t) {
        std::vector<Brush<Shape>> brushes;
        int64_t of_crop = -1;
        for (int64_t block = worker; block < blocks; block += workers) {
            const int64_t crop = block / blocks_per_crop;
            if (crop != of_crop) {
                of_crop = crop;
                brushes.clear();
                const auto before = [](const Shape& shape, int64_t c) { return shape.placement.crop < c; };
                auto shape = std::lower_bound(shapes.begin(), shapes.end(), crop, before);
                for (; shape != shapes.end() && shape->placement.crop == crop; ++shape) {
                    brushes.emplace_back(*shape, spacing);
                }
            }
            Volume8 volume = crops;
            volume.data += crop * out.stride[0];
            Box box = whole(volume);
            box.lo[slowest] = block % blocks_per_crop * slabs_per_block;
            box.hi[slowest] = std::min(box.lo[slowest] + slabs_per_block, slabs);
            int64_t from = box.hi[middle];
            int64_t to = box.lo[middle];
            for (const Brush<Shape>& brush : brushes) {
                if (!meets(brush, box)) continue;
                from = std::min(from, brush.box().lo[middle]);
                to = std::max(to, brush.box().hi[middle]);
            }
            if (from >= to) from = to = box.hi[middle];
            clear(volume, box, middle, from, to, bytes > kCachedBytes);
            for (Brush<Shape>& brush : brushes) {
                if (meets(brush, box)) brush.paint(volume, intersection(brush.box(), box));
            }
        }
    });
}

}  // namespace

std::vector<Disc> make_discs(const double* segments_vox, const double* radii_mm, const uint8_t* values,
                             const int64_t* crop_of, int64_t m, const Spacing& spacing, const Crops8& out,
                             const int64_t* origins) {
    std::vector<Disc> discs;
    for (int64_t s = 0; s < m; ++s) {
        const double* low = segments_vox + 6 * s;
        discs.push_back(disc_of(low, low + 3, radii_mm[s], values[s], spacing));
    }
    return placed(discs, crop_of, out, origins);
}

std::vector<Sphere> make_spheres(const double* centres_vox, const double* radii_mm, const uint8_t* values,
                                 const int64_t* crop_of, int64_t m, const Spacing& spacing, const Crops8& out,
                                 const int64_t* origins) {
    std::vector<Sphere> spheres;
    for (int64_t s = 0; s < m; ++s) spheres.push_back(sphere_of(centres_vox + 3 * s, radii_mm[s], values[s], spacing));
    return placed(spheres, crop_of, out, origins);
}

void rasterize_discs(const Crops8& out, const std::vector<Disc>& discs, const Spacing& spacing, int threads) {
    rasterize(out, discs, spacing, threads);
}

void rasterize_spheres(const Crops8& out, const std::vector<Sphere>& spheres, const Spacing& spacing, int threads) {
    rasterize(out, spheres, spacing, threads);
}

}  // namespace spf
