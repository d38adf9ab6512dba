# SPDX-License-Identifier: Apache-2.0
"""What a kernel is held against, and how a row of the tables comes about.

A benchmark of a kernel lists its ways, ours first and then what it is compared with, and asserts their answers::

    WAYS = [
        Way(label_medians),
        Way(one_nonzero, "one nonzero", 50),  # at least 50 times as fast
        Way(read_once, "reading the volume once", 2, better="lower", answers=False),  # at most twice as long
    ]

    @compare(WAYS)
    def test_label_medians(measure, size, way):
        answer = measure(scene.labels(size))  # calls way.run with the arguments
        if way.answers:
            np.testing.assert_array_equal(answer, expected(size))

The kernel's name is the test's. A further way is one line in its list, and with that a row: ``ratio`` is the median
time of the way over that of ours, or ours over the way's where `better` is "lower". Where a kernel ran at several
sizes there are rows against "1x", the time per voxel relative to that at the smallest.

`make bench` prints the rows, keeps them in ``results/kernels.json``, replacing those of the devices it ran on, and
writes the tables in README.md and docs/benchmarks.md from that file (`benchmarks.kernels.tables`).
"""
