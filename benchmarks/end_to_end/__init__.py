# SPDX-License-Identifier: Apache-2.0
"""The whole way from a file to the centroids, against the paper's way and against others': time, memory, agreement.

``python -m benchmarks.end_to_end`` measures everything in one run, prints the table, keeps it in
``benchmarks/results/end_to_end.json`` and writes the generated part of docs/performance.md with its picture (`page`).
Each figure comes from a process of its own (`one`), so that its peak memory is its own too. What is measured, and
against what, stands in `measure`; how large it is, in `sizes`. Every run asserts its answer.
"""
