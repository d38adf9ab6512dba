// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "support/parallel.h"

PYBIND11_MODULE(_kernels, module) {
    module.doc() = "Compiled kernels. Use spinefinder_fast.kernels, which checks its arguments and says what is wrong.";
#if defined(SPF_CUDA)
    module.attr("cuda") = true;
#else
    module.attr("cuda") = false;
#endif
    module.def(
        "set_bytes_per_thread", [](int64_t bytes) { spf::bytes_per_thread = bytes > 0 ? bytes : 1; },
        spf::py::arg("bytes"), "Work for which a thread is started; for tests.");
    spf::bind_discs(module);
    spf::bind_stitch(module);
    spf::bind_medians(module);
    spf::bind_deform(module);
    spf::bind_resample(module);
}
