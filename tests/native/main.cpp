// SPDX-License-Identifier: Apache-2.0
// The kernels without Python, for sanitizers: drawn calls on memory of exactly the right size, against plain loops.
#include "check.h"
#include "support/parallel.h"

int main() {
    spf::bytes_per_thread = 1;  // as many threads as are asked for, however small the work
    spf::test::test_discs();
    spf::test::test_medians();
    spf::test::test_stitch();
    spf::test::test_deform();
    spf::test::test_resample();
    std::puts("kernel_tests: all hold");
    return 0;
}
