// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"

PYBIND11_MODULE(_kernels, module) {
    module.doc() = "Compiled kernels. Use spinefinder_fast.kernels, which checks its arguments and says what is wrong.";
#if defined(SPF_CUDA)
    module.attr("cuda") = true;
#else
    module.attr("cuda") = false;
#endif
    spf::bind_discs(module);
    spf::bind_stitch(module);
    spf::bind_medians(module);
}
