// SPDX-License-Identifier: Apache-2.0
#include "kernels/deform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "support/error.h"
#include "support/parallel.h"

namespace spf {
namespace {

// An error at the end of a line loses a factor of 3.7 with every voxel: this many leave 1e-9 of it.
constexpr int64_t kHalo = 16;

// Neighbouring lines that one pass filters together: their recursions hide each other's latency.
constexpr int64_t kLanes = 64;

// Voxels of a row that are interpolated before they are written: else each lane would be computed for its own store.
constexpr int64_t kBatch = 32;

// A tap takes about as long as streaming so many bytes.
constexpr int64_t kTapBytes = 8;

// Calls body(lane, count) for ranges of lanes, the count a constant: wide ones as long as they last.
template <class Body>
void for_lanes(int64_t lanes, const Body& body) {
    int64_t lane = 0;
    for (; lane + 16 <= lanes; lane += 16) body(lane, std::integral_constant<int, 16>());
    for (; lane + 8 <= lanes; lane += 8) body(lane, std::integral_constant<int, 8>());
    for (; lane + 4 <= lanes; lane += 4) body(lane, std::integral_constant<int, 4>());
    for (; lane < lanes; ++lane) body(lane, std::integral_constant<int, 1>());
}

// Along the rows of the crop (the last axis), every row needs the same taps of the control points.
struct RowTaps {
    struct Segment {
        int64_t begin, end, first;  // voxels [begin, end) of the row share their taps
    };
    std::vector<Segment> segments;
    std::array<std::vector<double>, 4> weight;

    explicit RowTaps(const DisplacementField& field) {
        const int64_t n = field.crop.extent(2);
        for (std::vector<double>& w : weight) w.resize(static_cast<size_t>(n));
        for (int64_t k = 0; k < n; ++k) {
            const ControlTaps taps = control_taps(field.crop.lo[2] + k, field.shape[2], field.points[2]);
            for (size_t t = 0; t < 4; ++t) weight[t][static_cast<size_t>(k)] = taps.weight[t];
            if (segments.empty() || segments.back().first != taps.first) segments.push_back({k, k, taps.first});
            segments.back().end = k + 1;
        }
    }
};

// Source coordinates of one row of the crop after the other; `source_of` for all of its voxels at once.
class RowSources {
  public:
    RowSources(const DisplacementField& field, const RowTaps& taps)
        : field_(field),
          taps_(taps),
          plane_(static_cast<size_t>(field.axes * field.width(1) * field.width(2))),
          row_(static_cast<size_t>(field.axes * field.width(2))) {
        for (std::vector<double>& x : source_) x.resize(static_cast<size_t>(field.crop.extent(2)));
    }

    void move_to(int64_t i, int64_t j) {
        const int lead = 3 - field_.axes;
        const int64_t width = field_.width(2);
        const int64_t height = field_.width(1);
        if (i != i_) {
            const ControlTaps taps = control_taps(i, field_.shape[0], field_.points[0]);
            const int64_t size = height * width;
            for (int64_t c = 0; c < field_.axes; ++c) {
                const double* p = field_.coefficients + c * field_.width(0) * size + (lead < 1 ? taps.first * size : 0);
                double* to = plane_.data() + c * size;
                for (int64_t b = 0; b < size; ++b, ++p) {
                    to[b] = lead < 1 ? blend(taps.weight, p[0], p[size], p[2 * size], p[3 * size]) : p[0];
                }
            }
            i_ = i;
        }
        const ControlTaps taps = control_taps(j, field_.shape[1], field_.points[1]);
        for (int64_t c = 0; c < field_.axes; ++c) {
            const double* p = plane_.data() + c * height * width + (lead < 2 ? taps.first * width : 0);
            double* to = row_.data() + c * width;
            for (int64_t b = 0; b < width; ++b, ++p) {
                to[b] = lead < 2 ? blend(taps.weight, p[0], p[width], p[2 * width], p[3 * width]) : p[0];
            }
        }
        const double at[3] = {static_cast<double>(i), static_cast<double>(j), static_cast<double>(field_.crop.lo[2])};
        for (int axis = lead; axis < 3; ++axis) {
            for (const RowTaps::Segment& segment : taps_.segments) {
                const double* p = row_.data() + (axis - lead) * width + segment.first;
                fill(source_[static_cast<size_t>(axis)].data(), segment, p, at[axis], axis == 2);
            }
        }
    }

    const double* along(int axis) const { return source_[static_cast<size_t>(axis)].data(); }

  private:
    void fill(double* SPF_RESTRICT source, const RowTaps::Segment& segment, const double* p, double from,
              bool last) const {
        const double* w[4];
        for (size_t t = 0; t < 4; ++t) w[t] = taps_.weight[t].data();
        const double c[4] = {p[0], p[1], p[2], p[3]};
        for (int64_t k = segment.begin; k < segment.end; ++k) {
            const double weight[4] = {w[0][k], w[1][k], w[2][k], w[3][k]};
            const double voxel = last ? from + static_cast<double>(k) : from;
            source[k] = voxel + blend(weight, c[0], c[1], c[2], c[3]);
        }
    }

    const DisplacementField& field_;
    const RowTaps& taps_;
    int64_t i_ = -1;
    std::vector<double> plane_, row_;
    std::array<std::vector<double>, 3> source_;
};

// What all carried slices of an image share: where to interpolate one row of the crop, and with which weights.
struct RowCells {
    std::vector<double> x;
    std::vector<int32_t> cell;
    std::vector<int64_t> offset;               // of the cell, elements
    std::array<std::vector<float>, 3> beyond;  // how far behind the cell's first voxel
    std::array<std::array<std::vector<float>, 4>, 3> weight;
    std::vector<uint8_t> covered;
    bool all_covered = true;

    explicit RowCells(int64_t n) {
        const auto size = static_cast<size_t>(n);
        x.resize(size);
        cell.resize(size);
        offset.resize(size);
        covered.resize(size);
        for (std::vector<float>& f : beyond) f.resize(size);
        for (auto& taps : weight) {
            for (std::vector<float>& w : taps) w.resize(size);
        }
    }

    void find(const Lattice& lattice, const RowSources& sources, int axes) {
        const size_t n = x.size();
        std::fill(offset.begin(), offset.end(), lattice.origin);
        std::fill(covered.begin(), covered.end(), uint8_t{1});
        for (int axis = 3 - axes; axis < 3; ++axis) {
            const double* from = sources.along(axis);
            double* to = x.data();
            if (lattice.border == Border::kNearest || lattice.border == Border::kConstant) {
                const double last = static_cast<double>(lattice.n[axis] - 1);
                for (size_t k = 0; k < n; ++k) to[k] = clamped(from[k], last);
            } else {
                for (size_t k = 0; k < n; ++k) to[k] = folded(from[k], lattice.n[axis], lattice.border);
            }
            if (lattice.border == Border::kConstant) {
                for (size_t k = 0; k < n; ++k) covered[k] &= lattice.covers(axis, from[k]);
            }
            for (size_t k = 0; k < n; ++k) cell[k] = lattice.cell_of(axis, to[k]);
            for (size_t k = 0; k < n; ++k) offset[k] += cell[k] * lattice.step[axis];
            if (lattice.order == 0) continue;
            float* f = beyond[static_cast<size_t>(axis)].data();
            for (size_t k = 0; k < n; ++k) f[k] = static_cast<float>(to[k] - static_cast<double>(cell[k]));
            if (lattice.order == 3) weigh(f, weight[static_cast<size_t>(axis)]);
        }
        all_covered = std::find(covered.begin(), covered.end(), uint8_t{0}) == covered.end();
    }

    static void weigh(const float* f, std::array<std::vector<float>, 4>& taps) {
        float* const w[4] = {taps[0].data(), taps[1].data(), taps[2].data(), taps[3].data()};
        for (size_t k = 0; k < taps[0].size(); ++k) {
            float weights[4];
            cubic_weights(f[k], weights);
            for (size_t t = 0; t < 4; ++t) w[t][k] = weights[t];
        }
    }
};

template <int Axes, class T>
void sample_slice(const RowCells& cells, const Lattice& lattice, const T* from, T* SPF_RESTRICT to, int64_t to_step) {
    const int64_t* offset = cells.offset.data();
    const auto n = static_cast<int64_t>(cells.offset.size());
    if (lattice.order == 0) {
        for (int64_t k = 0; k < n; ++k) to[k * to_step] = from[offset[k]];
        return;
    }
    const float* beyond[Axes];
    int64_t step[Axes];
    for (int axis = 0; axis < Axes; ++axis) {
        beyond[axis] = cells.beyond[static_cast<size_t>(3 - Axes + axis)].data();
        step[axis] = lattice.step[3 - Axes + axis];
    }
    const auto interpolate = [&](int64_t k) {
        float f[Axes];
        for (int axis = 0; axis < Axes; ++axis) f[axis] = beyond[axis][k];
        return to_voxel<T>(linear<Axes>(from + offset[k], step, f));
    };
    if (to_step == 1) {
        for (int64_t k = 0; k < n; ++k) to[k] = interpolate(k);
    } else {
        for (int64_t k = 0; k < n; ++k) to[k * to_step] = interpolate(k);
    }
}

// `Lanes` carried slices from `first` on; `to` is the row's first voxel in each.
template <int Axes, int Lanes>
void sample_lanes(const RowCells& cells, const Lattice& lattice, const float* from, float* const* to, int64_t to_step) {
    const auto n = static_cast<int64_t>(cells.offset.size());
    const float* weight[Axes][4];
    int64_t step[Axes];
    for (int axis = 0; axis < Axes; ++axis) {
        const auto& taps = cells.weight[static_cast<size_t>(3 - Axes + axis)];
        for (size_t t = 0; t < 4; ++t) weight[axis][t] = taps[t].data();
        step[axis] = lattice.step[3 - Axes + axis];
    }
    for (int64_t begin = 0; begin < n; begin += kBatch) {
        const int64_t end = std::min(begin + kBatch, n);
        float sum[kBatch][Lanes];
        for (int64_t k = begin; k < end; ++k) {
            float w[Axes][4];
            for (int axis = 0; axis < Axes; ++axis) {
                for (int t = 0; t < 4; ++t) w[axis][t] = weight[axis][t][k];
            }
            cubic<Axes, Lanes>(from + cells.offset[static_cast<size_t>(k)], step, w, sum[k - begin]);
        }
        for (int lane = 0; lane < Lanes; ++lane) {
            for (int64_t k = begin; k < end; ++k) to[lane][k * to_step] = sum[k - begin][lane];
        }
    }
}

// A single slice: its neighbouring taps along the last axis are the lanes.
template <int Axes>
void sample_single(const RowCells& cells, const Lattice& lattice, const float* from, float* to, int64_t to_step) {
    const auto n = static_cast<int64_t>(cells.offset.size());
    const float* weight[Axes][4];
    for (int axis = 0; axis < Axes; ++axis) {
        for (size_t t = 0; t < 4; ++t) weight[axis][t] = cells.weight[static_cast<size_t>(3 - Axes + axis)][t].data();
    }
    for (int64_t k = 0; k < n; ++k) {
        float w[Axes][4];
        for (int axis = 0; axis < Axes; ++axis) {
            for (int t = 0; t < 4; ++t) w[axis][t] = weight[axis][t][k];
        }
        float part[4];
        cubic<Axes - 1, 4>(from + cells.offset[static_cast<size_t>(k)], lattice.step + 3 - Axes, w, part);
        const float* v = w[Axes - 1];
        to[k * to_step] = v[0] * part[0] + v[1] * part[1] + v[2] * part[2] + v[3] * part[3];
    }
}

template <int Axes>
void sample_block(const RowCells& cells, const Lattice& lattice, const float* coefficients, float* const* to,
                  int64_t to_step, int64_t carried) {
    if (carried == 1) return sample_single<Axes>(cells, lattice, coefficients, *to, to_step);
    for_lanes(carried, [&](int64_t lane, auto count) {
        sample_lanes<Axes, count>(cells, lattice, coefficients + lane, to + lane, to_step);
    });
}

// One image with what it is sampled on.
template <class T>
struct Source {
    Deformed<T> image;
    Lattice lattice;
    const float* coefficients;  // null where the voxels themselves are sampled

    template <int Axes>
    void sample_row(const RowSources& sources, RowCells& cells, std::vector<T*>& rows, int64_t i, int64_t j) const {
        cells.find(lattice, sources, Axes);
        const int64_t carried = image.carried();
        const int64_t step = image.out.stride[5];
        rows.resize(static_cast<size_t>(carried));
        for (int64_t c = 0; c < carried; ++c) {
            T* row = image.slice_out(c) + i * image.out.stride[3] + j * image.out.stride[4];
            rows[static_cast<size_t>(c)] = row;
            if (coefficients == nullptr) sample_slice<Axes>(cells, lattice, image.slice(c), row, step);
        }
        if constexpr (sizeof(T) == 4) {
            if (coefficients != nullptr) {
                sample_block<Axes>(cells, lattice, coefficients, rows.data(), step, carried);
            }
        }
        if (cells.all_covered) return;
        for (T* row : rows) {
            for (size_t k = 0; k < cells.covered.size(); ++k) {
                if (!cells.covered[k]) row[static_cast<int64_t>(k) * step] = image.outside;
            }
        }
    }
};

template <int Lanes>
struct Rows {
    const float* row[Lanes];
    int64_t step;

    float operator()(int64_t i, int lane) const { return row[lane][i * step]; }
};

void fill_block(const DisplacementField& field, const SplineBlock& block, const Deformed<float>& image,
                float* coefficients, int threads) {
    const Box& box = block.filtered;
    const int64_t* stride = image.image.stride + 3;
    threads = threads_worth(checked_product({box.extent(0), box.extent(1), box.extent(2), block.carried, kTapBytes}),
                            threads);
    for (int axis = 2; axis >= 3 - field.axes; --axis) {
        const LineBundles lines = lines_along(block, coefficients, axis);
        const int64_t parts = (lines.lanes - 1) / kLanes + 1;
        parallel_chunks(lines.count[0] * lines.count[1] * parts, threads, [&](int64_t begin, int64_t end, int64_t) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t first = item % parts * kLanes;
                float* const bundle = lines.bundle(item / parts) + first;
                const int64_t i = box.lo[0] + item / parts / lines.count[1];
                const int64_t j = box.lo[1] + item / parts % lines.count[1];
                const int64_t row = i * stride[0] + j * stride[1] + box.lo[2] * stride[2];
                for_lanes(std::min(kLanes, lines.lanes - first), [&](int64_t lane, auto count) {
                    float* to = bundle + lane;
                    if (axis < 2) return spline_lines<count>(InPlace<float>{to, lines.step}, to, lines.n, lines.step);
                    Rows<count> rows{{}, stride[2]};
                    for (int c = 0; c < count; ++c) rows.row[c] = image.slice(first + lane + c) + row;
                    spline_lines<count>(rows, to, lines.n, lines.step);
                });
            }
        });
    }
}

template <int Axes>
void sample(const DisplacementField& field, const std::vector<Source<float>>& images,
            const std::vector<Source<uint8_t>>& labels, int threads) {
    const Box& crop = field.crop;
    const RowTaps taps(field);
    int64_t taps_per_voxel = 16;  // of the field
    for (const auto& image : images) taps_per_voxel += image.image.carried() * (image.coefficients == nullptr ? 4 : 16);
    for (const auto& image : labels) taps_per_voxel += image.image.carried() * 4;
    threads = threads_worth(
        checked_product({taps_per_voxel, crop.extent(0), crop.extent(1), crop.extent(2), kTapBytes}), threads);
    parallel_chunks(crop.extent(0) * crop.extent(1), threads, [&](int64_t begin, int64_t end, int64_t) {
        RowSources sources(field, taps);
        RowCells cells(crop.extent(2));
        std::vector<float*> float_rows;
        std::vector<uint8_t*> label_rows;
        for (int64_t row = begin; row < end; ++row) {
            const int64_t i = row / crop.extent(1);
            const int64_t j = row % crop.extent(1);
            sources.move_to(crop.lo[0] + i, crop.lo[1] + j);
            for (const auto& image : images) image.sample_row<Axes>(sources, cells, float_rows, i, j);
            for (const auto& image : labels) image.sample_row<Axes>(sources, cells, label_rows, i, j);
        }
    });
}

// Bounds of the source coordinates of a crop.
struct Reach {
    double lo[3], hi[3];
};

// From samples of the field. Between two of them it moves no more than its steepest slope allows, and the slope of a
// spline is nowhere steeper than the steps between its coefficients.
Reach reach_of(const DisplacementField& field) {
    constexpr int64_t kSamples = 16;
    const Box& crop = field.crop;
    const int lead = 3 - field.axes;
    const int64_t width[3] = {field.width(0), field.width(1), field.width(2)};
    const int64_t jump[3] = {width[1] * width[2], width[2], 1};
    const int64_t size = width[0] * width[1] * width[2];

    int64_t half[3];  // no voxel is further from a sample
    std::vector<int64_t> samples[3];
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t stride = (crop.extent(axis) - 1) / kSamples + 1;
        half[axis] = stride / 2;
        for (int64_t at = crop.lo[axis]; at < crop.hi[axis] - 1; at += stride) samples[axis].push_back(at);
        samples[axis].push_back(crop.hi[axis] - 1);
    }
    double margin[3] = {0.0, 0.0, 0.0};
    for (int axis = lead; axis < 3; ++axis) {
        const double* p = field.coefficients + (axis - lead) * size;
        double steepest[3] = {0.0, 0.0, 0.0};
        for (int64_t index = 0; index < size; ++index) {
            const int64_t at[3] = {index / jump[0], index / jump[1] % width[1], index % width[2]};
            for (int b = lead; b < 3; ++b) {
                if (at[b] > 0) steepest[b] = std::max(steepest[b], std::abs(p[index] - p[index - jump[b]]));
            }
        }
        for (int b = lead; b < 3; ++b) {
            const int64_t steps = std::max<int64_t>(field.shape[b] - 1, 1);
            const double per_voxel =
                steepest[b] * static_cast<double>(field.points[b] - 1) / static_cast<double>(steps);
            margin[axis] += per_voxel * static_cast<double>(half[b]);
        }
    }

    Reach reach;
    std::fill_n(reach.lo, 3, std::numeric_limits<double>::infinity());
    std::fill_n(reach.hi, 3, -std::numeric_limits<double>::infinity());
    for (const int64_t i : samples[0]) {
        for (const int64_t j : samples[1]) {
            for (const int64_t k : samples[2]) {
                const int64_t at[3] = {i, j, k};
                double source[3];
                source_of(field, at, source);
                for (int axis = lead; axis < 3; ++axis) {
                    const double moved = source[axis] - static_cast<double>(at[axis]);
                    const int64_t low = std::max(crop.lo[axis], at[axis] - half[axis]);
                    const int64_t high = std::min(crop.hi[axis] - 1, at[axis] + half[axis]);
                    reach.lo[axis] = std::min(reach.lo[axis], static_cast<double>(low) + moved - margin[axis]);
                    reach.hi[axis] = std::max(reach.hi[axis], static_cast<double>(high) + moved + margin[axis]);
                }
            }
        }
    }
    return reach;
}

}  // namespace

std::vector<double> displacement_spline(const double* displacement, const DisplacementField& field) {
    const int lead = 3 - field.axes;
    const int64_t row = field.width(2);
    const int64_t plane = field.width(1) * row;
    const int64_t volume = field.width(0) * plane;
    std::vector<double> coefficients(static_cast<size_t>(field.size()));
    const auto filter = [&](double* first, int axis, int64_t step, int64_t lines) {
        for (double* line = first; line < first + lines; ++line) {
            spline_lines<1>(InPlace<double>{line, step}, line, field.points[axis], step);
        }
    };
    for (int64_t c = 0; c < field.axes; ++c) {
        double* first_plane = coefficients.data() + c * volume + (lead < 1 ? plane : 0);
        for (int64_t i = 0; i < field.points[0]; ++i) {
            double* first_row = first_plane + i * plane + (lead < 2 ? row : 0);
            for (int64_t j = 0; j < field.points[1]; ++j) {
                std::copy_n(displacement, field.points[2], first_row + j * row + 1);
                displacement += field.points[2];
                filter(first_row + j * row + 1, 2, 1, 1);
            }
            if (lead < 2) filter(first_row, 1, row, row);
        }
        if (lead < 1) filter(first_plane, 0, plane, plane);
    }
    return coefficients;
}

SplineBlock spline_block(const DisplacementField& field, Border border, int64_t carried) {
    const Reach reach = reach_of(field);
    SplineBlock block;
    block.carried = carried;
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t n = field.shape[axis];
        if (axis < 3 - field.axes) {
            block.filtered.hi[axis] = block.shape[axis] = 1;
            block.first[axis] = block.last[axis] = 0;
            continue;
        }
        const bool clamps = border == Border::kNearest || border == Border::kConstant;
        const bool inside_image = inside(reach.lo[axis], n) && inside(reach.hi[axis], n);
        const int64_t last = std::max<int64_t>(n - 2, 0);
        int64_t lo = 0;
        int64_t hi = last;
        if (clamps || inside_image) {
            // One more for what rounding does.
            lo = static_cast<int64_t>(clamped(reach.lo[axis] - 1.0, static_cast<double>(last)));
            hi = static_cast<int64_t>(clamped(reach.hi[axis] + 1.0, static_cast<double>(last)));
        }
        block.first[axis] = lo;
        block.last[axis] = hi;
        block.filtered.lo[axis] = std::max<int64_t>(lo - 1 - kHalo, 0);
        block.filtered.hi[axis] = std::min(block.last[axis] + 3 + kHalo, n);
        block.shape[axis] = block.filtered.extent(axis) + 3;
    }
    return block;
}

int64_t deform_scratch(const DisplacementField& field, const std::vector<Deformed<float>>& images) {
    int64_t size = floats_of_field(field);
    for (const Deformed<float>& image : images) {
        if (has_spline(field, image)) size += spline_block(field, image.border, image.carried()).size();
    }
    return size;
}

void deform_grid(const DisplacementField& field, const std::vector<Deformed<float>>& images,
                 const std::vector<Deformed<uint8_t>>& labels, float* scratch, int threads) {
    if (field.crop.empty()) return;
    scratch += floats_of_field(field);
    std::vector<Source<float>> floats;
    std::vector<Source<uint8_t>> bytes;
    for (const Deformed<float>& image : images) {
        if (!has_spline(field, image)) {
            floats.push_back({image, lattice_of(field, image), nullptr});
            continue;
        }
        const SplineBlock block = spline_block(field, image.border, image.carried());
        fill_block(field, block, image, scratch, threads);
        floats.push_back({image, lattice_of(field, block, image.border), scratch});
        scratch += block.size();
    }
    for (const Deformed<uint8_t>& image : labels) bytes.push_back({image, lattice_of(field, image), nullptr});
    switch (field.axes) {
        case 1:
            return sample<1>(field, floats, bytes, threads);
        case 2:
            return sample<2>(field, floats, bytes, threads);
        default:
            return sample<3>(field, floats, bytes, threads);
    }
}

}  // namespace spf
