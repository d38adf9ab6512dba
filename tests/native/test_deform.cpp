// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "check.h"
#include "kernels/deform.h"

namespace spf::test {
namespace {

DisplacementField draw_field(Random& random, int axes) {
    DisplacementField field;
    field.axes = axes;
    for (int axis = 0; axis < 3; ++axis) {
        field.crop.hi[axis] = 1;
        if (axis < 3 - axes) continue;
        field.shape[axis] = random.side(axes == 3 ? 9 : 40);
        field.points[axis] = random.whole(1, 5);
        field.crop.lo[axis] = random.whole(0, field.shape[axis]);
        field.crop.hi[axis] = random.whole(field.crop.lo[axis], field.shape[axis]);
    }
    return field;
}

std::vector<double> draw_displacement(Random& random, const DisplacementField& field) {
    constexpr double kSizes[] = {0.0, 0.5, 5.0, 100.0, 1e12, 1e300};
    const double size = kSizes[random.whole(0, 5)];
    std::vector<double> displacement;
    const int64_t n = field.axes * field.points[0] * field.points[1] * field.points[2];
    for (int64_t i = 0; i < n; ++i) displacement.push_back(random.real(-size, size));
    return displacement;
}

// One voxel after the other, as a device takes them.
template <int Axes, class T>
void check_voxels(const DisplacementField& field, const Deformed<T>& image, const Lattice& lattice,
                  const float* coefficients) {
    const Box& crop = field.crop;
    const int64_t* stride = image.out.stride + 3;
    for (int64_t i = 0; i < crop.extent(0); ++i) {
        for (int64_t j = 0; j < crop.extent(1); ++j) {
            for (int64_t k = 0; k < crop.extent(2); ++k) {
                const int64_t voxel[3] = {crop.lo[0] + i, crop.lo[1] + j, crop.lo[2] + k};
                const Sample<Axes> sample = sample_of<Axes>(field, lattice, voxel);
                for (int64_t slice = 0; slice < image.carried(); ++slice) {
                    CHECK(image.slice_out(slice)[i * stride[0] + j * stride[1] + k * stride[2]] ==
                          value_of<Axes>(image, coefficients, sample, slice));
                }
            }
        }
    }
}

template <int Axes>
void deform(Random& random) {
    DisplacementField field = draw_field(random, Axes);
    const std::vector<double> displacement = draw_displacement(random, field);
    const std::vector<double> spline = displacement_spline(displacement.data(), field);
    field.coefficients = spline.data();
    // At most 17 slices: of 16, 8, 4 and 1 of them in a vector.
    const int64_t shape[6] = {random.whole(0, 1), random.whole(1, 17), 1,
                              field.shape[0],     field.shape[1],      field.shape[2]};
    int64_t wanted[6];
    for (int axis = 0; axis < 6; ++axis) wanted[axis] = axis < 3 ? shape[axis] : field.crop.extent(axis - 3);
    Block<float, 6> values(random, shape);
    Block<uint8_t, 6> labels(random, shape);
    for (int64_t i = 0; i < values.size; ++i) {
        values.memory[static_cast<size_t>(i)] = static_cast<float>(random.real(-9.0, 9.0));
        labels.memory[static_cast<size_t>(i)] = static_cast<uint8_t>(random.whole(0, 255));
    }
    for (const int threads : kThreads) {
        const auto border = static_cast<Border>(random.whole(0, 4));
        const int order = static_cast<int>(random.whole(0, 1));
        Block<float, 6> smooth(random, wanted), sharp(random, wanted);
        Block<uint8_t, 6> bytes(random, wanted);
        const Deformed<float> cubic_image{values.read(), smooth.view, 3, border, -77.0F};
        const Deformed<float> image{values.read(), sharp.view, order, border, -77.0F};
        const Deformed<uint8_t> label{labels.read(), bytes.view, 1 - order, border, 77};
        const auto floats = static_cast<size_t>(deform_scratch(field, {image, cubic_image}));
        const auto scratch = std::make_unique<float[]>(floats);
        deform_grid(field, {image, cubic_image}, {label}, scratch.get(), threads);
        if (field.crop.empty()) continue;
        check_voxels<Axes>(field, image, lattice_of(field, image), nullptr);
        check_voxels<Axes>(field, label, lattice_of(field, label), nullptr);
        if (!has_spline(field, cubic_image)) continue;
        const SplineBlock block = spline_block(field, border, cubic_image.carried());
        check_voxels<Axes>(field, cubic_image, lattice_of(field, block, border),
                           scratch.get() + floats_of_field(field));
    }
}

}  // namespace

void test_deform() {
    Random random(2);
    for (int round = 0; round < 300; ++round) {
        deform<1>(random);
        deform<2>(random);
        deform<3>(random);
    }
}

}  // namespace spf::test
