// SPDX-License-Identifier: Apache-2.0
#include "kernels/discs.h"
#include "kernels/discs_lines.h"
#include "support/launch.cuh"

namespace spf {
namespace {

template <class Shape>
struct Paint {
    Lines<Shape> lines;

    // A warp does a row: each of its threads looks whether one shape meets it.
    __device__ void operator()(int64_t row, int64_t first, int64_t step) const {
        const auto line = lines.line_of(row);
        const uint32_t met = __ballot_sync(0xffffffff, lines.meets(first, line));
        lines.paint(line, met, first, step);
    }
};

template <class Shape>
void rasterize(const Crops8& out, const std::vector<Shape>& shapes, const Spacing& spacing, void* stream) {
    for_each_launch(out, shapes, spacing, [&](int64_t rows, const Lines<Shape>& lines) {
        const DeviceOf device(out.data);
        for_each_row(rows, stream, Paint<Shape>{lines});
    });
}

}  // namespace

void rasterize_discs_cuda(const Crops8& out, const std::vector<Disc>& discs, const Spacing& spacing, void* stream) {
    rasterize(out, discs, spacing, stream);
}

void rasterize_spheres_cuda(const Crops8& out, const std::vector<Sphere>& spheres, const Spacing& spacing,
                            void* stream) {
    rasterize(out, spheres, spacing, stream);
}

}  // namespace spf
