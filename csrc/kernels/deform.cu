// SPDX-License-Identifier: Apache-2.0
#include "kernels/deform.h"
#include "support/error.h"
#include "support/launch.cuh"

namespace spf {
namespace {

struct Row {
    const float* first;
    int64_t step;

    __device__ float operator()(int64_t i, int) const { return first[i * step]; }
};

struct FillBlock {
    Deformed<float> image;
    Box filtered;
    LineBundles lines;
    int axis;

    __device__ void operator()(int64_t index) const {
        const int64_t lane = index % lines.lanes;
        const int64_t bundle = index / lines.lanes;
        float* to = lines.bundle(bundle) + lane;
        if (axis < 2) {
            spline_lines<1>(InPlace<float>{to, lines.step}, to, lines.n, lines.step);
            return;
        }
        const int64_t* stride = image.image.stride + 3;
        const float* row = image.slice(lane) + (filtered.lo[0] + bundle / lines.count[1]) * stride[0] +
                           (filtered.lo[1] + bundle % lines.count[1]) * stride[1] + filtered.lo[2] * stride[2];
        spline_lines<1>(Row{row, stride[2]}, to, lines.n, lines.step);
    }
};

template <int Axes, class T>
struct SampleRow {
    DisplacementField field;
    Deformed<T> image;
    Lattice lattice;
    const float* coefficients;

    __device__ void operator()(int64_t row, int64_t first, int64_t step) const {
        const Box& crop = field.crop;
        const int64_t* stride = image.out.stride + 3;
        const int64_t i = row / crop.extent(1);
        const int64_t j = row % crop.extent(1);
        for (int64_t k = first; k < crop.extent(2); k += step) {
            const int64_t voxel[3] = {crop.lo[0] + i, crop.lo[1] + j, crop.lo[2] + k};
            const Sample<Axes> sample = sample_of<Axes>(field, lattice, voxel);
            for (int64_t slice = 0; slice < image.carried(); ++slice) {
                image.slice_out(slice)[i * stride[0] + j * stride[1] + k * stride[2]] =
                    value_of<Axes>(image, coefficients, sample, slice);
            }
        }
    }
};

void fill_block(const DisplacementField& field, const SplineBlock& block, const Deformed<float>& image,
                float* coefficients, void* stream) {
    for (int axis = 2; axis >= 3 - field.axes; --axis) {
        const LineBundles lines = lines_along(block, coefficients, axis);
        const int64_t n = checked_product({lines.count[0], lines.count[1], lines.lanes});
        for_each(n, stream, FillBlock{image, block.filtered, lines, axis});
    }
}

template <class T>
void sample(const DisplacementField& field, const Deformed<T>& image, const Lattice& lattice, const float* coefficients,
            void* stream) {
    const int64_t rows = checked_product({field.crop.extent(0), field.crop.extent(1)});
    if (field.axes == 1) for_each_row(rows, stream, SampleRow<1, T>{field, image, lattice, coefficients});
    if (field.axes == 2) for_each_row(rows, stream, SampleRow<2, T>{field, image, lattice, coefficients});
    if (field.axes == 3) for_each_row(rows, stream, SampleRow<3, T>{field, image, lattice, coefficients});
}

}  // namespace

void deform_grid_cuda(const DisplacementField& field, const std::vector<Deformed<float>>& images,
                      const std::vector<Deformed<uint8_t>>& labels, float* scratch, void* stream) {
    if (field.crop.empty()) return;
    const DeviceOf device(scratch);
    check_cuda(cudaMemcpyAsync(scratch, field.coefficients, static_cast<size_t>(field.size()) * sizeof(double),
                               cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)),
               "copying the displacement");
    DisplacementField on_device = field;
    on_device.coefficients = reinterpret_cast<const double*>(scratch);
    scratch += floats_of_field(field);
    for (const Deformed<float>& image : images) {
        if (!has_spline(field, image)) {
            sample(on_device, image, lattice_of(field, image), nullptr, stream);
            continue;
        }
        const SplineBlock block = spline_block(field, image.border, image.carried());
        fill_block(field, block, image, scratch, stream);
        sample(on_device, image, lattice_of(field, block, image.border), scratch, stream);
        scratch += block.size();
    }
    for (const Deformed<uint8_t>& image : labels) {
        sample(on_device, image, lattice_of(field, image), nullptr, stream);
    }
}

}  // namespace spf
