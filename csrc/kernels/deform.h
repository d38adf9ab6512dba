// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "support/error.h"
#include "support/view.h"

namespace spf {

/// What an image is taken to be beyond its first and last voxel; `deform_grid` of the Python face says it in words.
enum class Border : int { kNearest, kWrap, kReflect, kMirror, kConstant };

/// Where the voxels of a crop come from: voxel i of the output is the image at i + d(i). d is the cubic B-spline
/// through control points that are spread evenly from the first to the last voxel of each deformed axis, mirrored
/// beyond them. Up to three deformed axes; where there are fewer they come last, and the others have one voxel.
struct DisplacementField {
    int axes = 1;
    int64_t shape[3] = {1, 1, 1};   // voxels of the whole image
    int64_t points[3] = {1, 1, 1};  // control points
    Box crop;
    const double* coefficients = nullptr;  // as `displacement_spline` lays them out

    /// Coefficients along an axis: with those that the mirror adds, one before and two behind.
    SPF_HD int64_t width(int axis) const { return axis < 3 - axes ? 1 : points[axis] + 3; }
    SPF_HD int64_t size() const { return axes * width(0) * width(1) * width(2); }
};

/// Three carried axes, then the three of the field. `out` has the sides of the crop along these.
template <class T>
struct Deformed {
    View<const T, 6> image;
    View<T, 6> out;
    int order;  // of the interpolating spline: 0, 1, or 3 for float alone
    Border border;
    T outside;  // where Border::kConstant has nothing to interpolate

    SPF_HD int64_t carried() const { return image.shape[0] * image.shape[1] * image.shape[2]; }
    /// First voxel of one carried slice.
    SPF_HD const T* slice(int64_t index) const { return image.data + carried_offset(image.stride, index); }
    SPF_HD T* slice_out(int64_t index) const { return out.data + carried_offset(out.stride, index); }

  private:
    SPF_HD int64_t carried_offset(const int64_t* stride, int64_t index) const {
        const int64_t rest = index / image.shape[2];
        return rest / image.shape[1] * stride[0] + rest % image.shape[1] * stride[1] +
               index % image.shape[2] * stride[2];
    }
};

/// Spline coefficients of the part of an image that a crop reaches, (shape[0], shape[1], shape[2], carried) floats:
/// carried slices are neighbours, so that one set of weights serves a vector of them. Along each deformed axis one
/// mirrored voxel lies before those of `filtered` and two behind: no tap needs a test for the border.
struct SplineBlock {
    Box filtered;
    int64_t first[3], last[3];  // cells that samples lie in
    int64_t shape[3];
    int64_t carried;

    SPF_HD int64_t before(int axis) const { return shape[axis] > 1 ? 1 : 0; }
    int64_t size() const { return checked_product({shape[0], shape[1], shape[2], carried}); }
};

/// Weights of the four taps around a sample; f in [0, 1] is how far it lies behind the second.
template <class T>
SPF_HD inline void cubic_weights(T f, T* weight) {
    const T g = T(1) - f;
    weight[0] = g * g * g / T(6);
    weight[1] = T(2) / T(3) - f * f * (T(2) - f) / T(2);
    weight[2] = T(2) / T(3) - g * g * (T(2) - g) / T(2);
    weight[3] = f * f * f / T(6);
}

SPF_HD inline double blend(const double* weight, double a, double b, double c, double d) {
    return weight[0] * a + weight[1] * b + weight[2] * c + weight[3] * d;
}

/// Coefficients of the displacement that a voxel of the image depends on, along one axis.
struct ControlTaps {
    int64_t first;
    double weight[4];
};

SPF_HD inline ControlTaps control_taps(int64_t voxel, int64_t n, int64_t points) {
    // An axis of one voxel takes the first control point.
    const double at =
        n > 1 ? static_cast<double>(points - 1) * static_cast<double>(voxel) / static_cast<double>(n - 1) : 0.0;
    ControlTaps taps;
    taps.first = static_cast<int64_t>(at);
    cubic_weights(at - static_cast<double>(taps.first), taps.weight);
    return taps;
}

/// Where voxel (i, j, k) of the image comes from, voxels. The C++ form takes the same steps, but those along the first
/// two axes once per row.
SPF_HD inline void source_of(const DisplacementField& field, const int64_t* voxel, double* source) {
    const int lead = 3 - field.axes;
    ControlTaps taps[3];
    for (int axis = 0; axis < 3; ++axis) taps[axis] = control_taps(voxel[axis], field.shape[axis], field.points[axis]);
    const int64_t row = field.width(2);
    const int64_t plane = field.width(1) * row;
    const double* coefficients = field.coefficients + (lead < 1 ? taps[0].first * plane : 0) +
                                 (lead < 2 ? taps[1].first * row : 0) + taps[2].first;
    for (int axis = 0; axis < lead; ++axis) source[axis] = static_cast<double>(voxel[axis]);
    for (int axis = lead; axis < 3; ++axis) {
        double along[4];
        for (int c = 0; c < 4; ++c) {
            double across[4];
            for (int b = 0; b < (lead < 2 ? 4 : 1); ++b) {
                const double* p = coefficients + b * row + c;
                across[b] = lead < 1 ? blend(taps[0].weight, p[0], p[plane], p[2 * plane], p[3 * plane]) : p[0];
            }
            along[c] = lead < 2 ? blend(taps[1].weight, across[0], across[1], across[2], across[3]) : across[0];
        }
        source[axis] = static_cast<double>(voxel[axis]) + blend(taps[2].weight, along[0], along[1], along[2], along[3]);
        coefficients += field.width(0) * plane;
    }
}

SPF_HD inline bool inside(double x, int64_t n) { return x >= 0.0 && x <= static_cast<double>(n - 1); }

/// NaN becomes 0.
SPF_HD inline double clamped(double x, double last) {
    const double low = x > 0.0 ? x : 0.0;
    return low < last ? low : last;
}

/// The coordinate in [0, n - 1] that shows what lies at x, for an axis of n voxels.
SPF_HD inline double folded(double x, int64_t n, Border border) {
    const double last = static_cast<double>(n - 1);
    if (inside(x, n) || n == 1) return clamped(x, last);
    switch (border) {
        case Border::kWrap:
            x = x < 0.0 ? x + last * (std::trunc(-x / last) + 1.0) : x - last * std::trunc(x / last);
            break;
        case Border::kReflect: {
            const double period = 2.0 * static_cast<double>(n);
            x -= period * std::trunc(x / period);
            if (x < 0.0) x = x < -static_cast<double>(n) ? x + period : -x - 1.0;
            if (x >= static_cast<double>(n)) x = period - x - 1.0;
            break;
        }
        default:
            break;
    }
    if (border == Border::kReflect || border == Border::kMirror) {
        // The spline itself is mirrored about the centre of its first and of its last voxel.
        const double period = 2.0 * last;
        x = std::fabs(x);
        x -= period * std::trunc(x / period);
        if (x > last) x = period - x;
    }
    return clamped(x, last);
}

/// The grid that one image is sampled on, its own voxels or a block of coefficients, over the field's three axes.
struct Lattice {
    int order;
    Border border;
    int64_t n[3];              // voxels of the image
    double first[3], last[3];  // cells; a cell is named by its first voxel
    int64_t step[3];           // elements between neighbours
    int64_t origin;            // element of cell (0, 0, 0), which need not exist

    /// Whether there is something to interpolate at x.
    SPF_HD bool covers(int axis, double x) const { return border != Border::kConstant || inside(x, n[axis]); }

    /// The cell that a folded coordinate lies in, or the nearest that exists; with order 0 that of the nearest voxel.
    SPF_HD int32_t cell_of(int axis, double x) const {
        const double at = order == 0 ? x + 0.5 : x;
        const double low = at > first[axis] ? at : first[axis];
        return static_cast<int32_t>(low < last[axis] ? low : last[axis]);
    }
};

/// Halves are rounded up; what 8 bits cannot hold becomes the nearest that they can.
template <class T, class Real>
SPF_HD inline T to_voxel(Real value) {
    if constexpr (sizeof(T) == 1) {
        const Real rounded = value > Real(0) ? value + Real(0.5) : Real(0);
        return static_cast<T>(rounded < Real(255) ? rounded : Real(255));
    } else {
        return static_cast<T>(value);
    }
}

/// Linear interpolation over the last `Axes` axes: p points to the voxel before the sample.
template <int Axes, class T>
SPF_HD inline float linear(const T* p, const int64_t* step, const float* f) {
    if constexpr (Axes == 0) {
        return static_cast<float>(*p);
    } else {
        const float before = linear<Axes - 1>(p, step + 1, f + 1);
        const float behind = linear<Axes - 1>(p + step[0], step + 1, f + 1);
        return (1.0F - f[0]) * before + f[0] * behind;
    }
}

/// Cubic interpolation of `Lanes` neighbouring values over `Axes` axes: p points to the first of the taps.
template <int Axes, int Lanes>
SPF_HD inline void cubic(const float* p, const int64_t* step, const float (*weight)[4], float* sum) {
    if constexpr (Axes == 0) {
        for (int lane = 0; lane < Lanes; ++lane) sum[lane] = p[lane];
    } else {
        float part[4][Lanes];
        for (int t = 0; t < 4; ++t) cubic<Axes - 1, Lanes>(p + t * step[Axes - 1], step, weight, part[t]);
        const float* w = weight[Axes - 1];
        for (int lane = 0; lane < Lanes; ++lane) {
            sum[lane] = w[0] * part[0][lane] + w[1] * part[1][lane] + w[2] * part[2][lane] + w[3] * part[3][lane];
        }
    }
}

/// Where and with which weights all carried slices of an image are sampled for one voxel.
template <int Axes>
struct Sample {
    bool covered = true;
    int64_t offset;
    int64_t step[Axes];
    float beyond[Axes];  // how far behind the cell's first voxel
    float weight[Axes][4];
};

/// The C++ form finds the samples of a row at once.
template <int Axes>
SPF_HD inline Sample<Axes> sample_of(const DisplacementField& field, const Lattice& lattice, const int64_t* voxel) {
    double source[3];
    source_of(field, voxel, source);
    Sample<Axes> sample;
    sample.offset = lattice.origin;
    for (int a = 0; a < Axes; ++a) {
        const int axis = 3 - Axes + a;
        sample.covered = sample.covered && lattice.covers(axis, source[axis]);
        const double x = folded(source[axis], lattice.n[axis], lattice.border);
        const int32_t cell = lattice.cell_of(axis, x);
        sample.step[a] = lattice.step[axis];
        sample.offset += cell * lattice.step[axis];
        sample.beyond[a] = static_cast<float>(x - static_cast<double>(cell));
        if (lattice.order == 3) cubic_weights(sample.beyond[a], sample.weight[a]);
    }
    return sample;
}

/// The value of one carried slice. `coefficients` is null where the voxels themselves are sampled.
template <int Axes, class T>
SPF_HD inline T value_of(const Deformed<T>& image, const float* coefficients, const Sample<Axes>& sample,
                         int64_t slice) {
    if (!sample.covered) return image.outside;
    if (image.order == 0) return image.slice(slice)[sample.offset];
    if (image.order == 1) {
        return to_voxel<T>(linear<Axes>(image.slice(slice) + sample.offset, sample.step, sample.beyond));
    }
    float value;
    cubic<Axes, 1>(coefficients + sample.offset + slice, sample.step, sample.weight, &value);
    return to_voxel<T>(value);
}

/// Samples to coefficients of the cubic B-spline through them, mirrored about the first and the last one. There are n
/// samples of each of `Lanes` neighbouring lines: sample(i, lane) reads one, and its coefficient goes to
/// to[i * step + lane]; these may be the same. One mirrored coefficient is written before them and two behind.
/// Unser, Aldroubi and Eden 1993, B-Spline Signal Processing, part II.
template <int Lanes, class T, class Sample>
SPF_HD inline void spline_lines(const Sample& sample, T* to, int64_t n, int64_t step) {
    constexpr T kPole = T(-0.26794919243112270647);  // sqrt(3) - 2
    constexpr T kGain = T(-6) * kPole;
    constexpr int64_t kHorizon = sizeof(T) == 4 ? 16 : 32;  // the pole to this power is below the last bit
    const int64_t last = n - 1;
    T at[Lanes];
    for (int lane = 0; lane < Lanes; ++lane) at[lane] = sample(0, lane);
    if (n > 1) {
        // The recursion begins with the sum over the whole mirrored, periodic line.
        const int64_t terms = 2 * last < kHorizon ? 2 * last : kHorizon;
        T power = kPole;
        for (int64_t i = 1; i < terms; ++i) {
            const int64_t from = i <= last ? i : 2 * last - i;
            for (int lane = 0; lane < Lanes; ++lane) at[lane] += power * sample(from, lane);
            power *= kPole;
        }
        const T periods = T(1) / (T(1) - (terms < kHorizon ? power : T(0)));
        for (int lane = 0; lane < Lanes; ++lane) at[lane] *= periods;
    }
    for (int lane = 0; lane < Lanes; ++lane) to[lane] = at[lane];
    if (n > 1) {
        for (int64_t i = 1; i < n; ++i) {
            for (int lane = 0; lane < Lanes; ++lane) at[lane] = sample(i, lane) + kPole * at[lane];
            for (int lane = 0; lane < Lanes; ++lane) to[i * step + lane] = at[lane];
        }
        constexpr T kScale = kGain / (T(1) - kPole * kPole);
        const T* before = to + (last - 1) * step;
        for (int lane = 0; lane < Lanes; ++lane) at[lane] = kScale * (at[lane] + kPole * before[lane]);
        for (int lane = 0; lane < Lanes; ++lane) to[last * step + lane] = at[lane];
        for (int64_t i = last - 1; i >= 0; --i) {
            for (int lane = 0; lane < Lanes; ++lane) at[lane] = kPole * at[lane] + kGain * to[i * step + lane];
            for (int lane = 0; lane < Lanes; ++lane) to[i * step + lane] = at[lane];
        }
    }
    const int64_t beyond[3][2] = {{-1, n > 1 ? 1 : 0}, {n, n > 1 ? n - 2 : 0}, {n + 1, n > 2 ? n - 3 : last}};
    for (const auto& mirrored : beyond) {
        for (int lane = 0; lane < Lanes; ++lane) to[mirrored[0] * step + lane] = to[mirrored[1] * step + lane];
    }
}

/// Samples that become coefficients where they are.
template <class T>
struct InPlace {
    const T* samples;
    int64_t step;

    SPF_HD T operator()(int64_t i, int lane) const { return samples[i * step + lane]; }
};

/// Lines of a block along one axis: `count` bundles of `lanes` neighbouring lines, each of `n` samples `step` apart.
struct LineBundles {
    float* first;
    int64_t count[2];
    int64_t stride[2];
    int64_t lanes, n, step;

    SPF_HD float* bundle(int64_t index) const {
        return first + index / count[1] * stride[0] + index % count[1] * stride[1];
    }
};

/// The lines that become coefficients along `axis`, once those of the axes behind it are.
SPF_HD inline LineBundles lines_along(const SplineBlock& block, float* coefficients, int axis) {
    const int64_t row = block.shape[2] * block.carried;
    const int64_t plane = block.shape[1] * row;
    LineBundles lines;
    lines.count[0] = axis > 0 ? block.filtered.extent(0) : 1;
    lines.count[1] = axis > 1 ? block.filtered.extent(1) : 1;
    lines.stride[0] = plane;
    lines.stride[1] = row;
    lines.lanes = axis == 0 ? plane : (axis == 1 ? row : block.carried);
    lines.n = block.filtered.extent(axis);
    lines.step = lines.lanes;
    lines.first = coefficients + block.before(0) * plane;
    if (axis > 0) lines.first += block.before(1) * row;
    if (axis > 1) lines.first += block.before(2) * block.carried;
    return lines;
}

/// Coefficients of the displacement's spline, (axes, field.width(0), field.width(1), field.width(2)), from displacement
/// (axes, points of these axes), C-contiguous, voxels.
std::vector<double> displacement_spline(const double* displacement, const DisplacementField& field);

/// The part of an image whose coefficients its crop reaches, and what they depend on by more than the last bit of a
/// float.
SplineBlock spline_block(const DisplacementField& field, Border border, int64_t carried);

/// An image itself, to be sampled with order 0 or 1.
template <class T>
Lattice lattice_of(const DisplacementField& field, const Deformed<T>& image) {
    Lattice lattice{image.order, image.border, {}, {}, {}, {}, 0};
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t n = field.shape[axis];
        lattice.n[axis] = n;
        // With order 1 the last cell lies between the last two voxels, where there are two.
        lattice.last[axis] = static_cast<double>(image.order == 0 || n == 1 ? n - 1 : n - 2);
        lattice.step[axis] = n == 1 ? 0 : image.image.stride[axis + 3];
    }
    return lattice;
}

/// Its spline coefficients, to be sampled with order 3. A cell's element is the first of its four taps.
inline Lattice lattice_of(const DisplacementField& field, const SplineBlock& block, Border border) {
    Lattice lattice{3, border, {}, {}, {}, {}, 0};
    int64_t step = block.carried;
    for (int axis = 2; axis >= 0; --axis) {
        lattice.n[axis] = field.shape[axis];
        lattice.first[axis] = static_cast<double>(block.first[axis]);
        lattice.last[axis] = static_cast<double>(block.last[axis]);
        lattice.step[axis] = step;
        lattice.origin -= block.filtered.lo[axis] * step;
        step *= block.shape[axis];
    }
    return lattice;
}

/// Whether there is anything to keep spline coefficients of.
inline bool has_spline(const DisplacementField& field, const Deformed<float>& image) {
    return image.order == 3 && image.carried() > 0 && !field.crop.empty();
}

/// Floats at the start of the scratch memory, where a device keeps the field's coefficients.
inline int64_t floats_of_field(const DisplacementField& field) {
    return field.size() * static_cast<int64_t>(sizeof(double) / sizeof(float));
}

/// Number of floats of scratch memory that `deform_grid` needs.
int64_t deform_scratch(const DisplacementField& field, const std::vector<Deformed<float>>& images);

/// Deforms images and labels by one field. No side of a deformed axis may exceed 2^31 - 1. `scratch` holds
/// `deform_scratch` floats.
void deform_grid(const DisplacementField& field, const std::vector<Deformed<float>>& images,
                 const std::vector<Deformed<uint8_t>>& labels, float* scratch, int threads);

/// The same on a CUDA device: views and scratch, aligned to 8 bytes, point to device memory, field.coefficients to host
/// memory that may be freed on return. The work is queued on `stream` and not waited for.
void deform_grid_cuda(const DisplacementField& field, const std::vector<Deformed<float>>& images,
                      const std::vector<Deformed<uint8_t>>& labels, float* scratch, void* stream);

}  // namespace spf
