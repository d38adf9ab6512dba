#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The CUDA kernels on a GPU: build, tests against the references, the four tools of compute-sanitizer, benchmarks.
#
#   make gpu-check [PYTHON=python3] [OUT=build/gpu-check]
#
# PYTHON needs torch with CUDA, numpy, pytest, pytest-benchmark, hypothesis and pybind11; cmake, ninja, nvcc and
# compute-sanitizer are taken from PATH. Everything runs from the source tree: nothing is installed, nothing fetched.
# Each step is recorded in OUT/summary.txt with its date and device, and its output beside it; a step that fails does
# not stop the others. Exit status 1 where any failed.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-build/gpu-check}
# Without a device the tests would skip, and look as if they held.
"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "gpu-check: $PYTHON's torch sees no CUDA device; give a PYTHON whose torch does" >&2
    exit 2
}
mkdir -p "$OUT"
export PYTHONPATH=$PWD PYTHONDONTWRITEBYTECODE=1
failed=0

step() { # step NAME COMMAND...: runs, keeps the output, writes one line of the summary
    local name=$1 start=$SECONDS status
    shift
    if "$@" >"$OUT/$name.log" 2>&1; then status=ok; else status=FAILED failed=1; fi
    printf '%-12s %-6s %4d s  %s\n' "$name" "$status" $((SECONDS - start)) "$(tail -n 1 "$OUT/$name.log")" | tee -a "$OUT/summary.txt"
}

build() {
    cmake -S . -B build/gpu -G Ninja -DCMAKE_BUILD_TYPE=Release -DSPF_CUDA=ON -DSPF_WERROR=ON -DSPF_TESTS=ON \
        -DCMAKE_CUDA_ARCHITECTURES="${CUDA_ARCHITECTURES:-native}" \
        -Dpybind11_DIR="$("$PYTHON" -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(command -v "$PYTHON")" &&
        cmake --build build/gpu &&
        cp build/gpu/_kernels*.so spinefinder_fast/
}

tests() { "$PYTHON" -m pytest -p no:cacheprovider tests/kernels "$@"; }

# Small shapes, few examples, and every tensor an allocation of its own: torch's cache would hide what lies beyond it.
sanitized() {
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --target-processes all --error-exitcode 1 \
        "$PYTHON" -m pytest -p no:cacheprovider tests/kernels -m "gpu and not slow" --hypothesis-profile=few -x
}

{
    date -u '+%Y-%m-%d %H:%M UTC'
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    nvcc --version | grep release
    "$PYTHON" -c 'import torch; print("torch", torch.__version__)'
    git rev-parse --short HEAD 2>/dev/null
} | tee "$OUT/summary.txt"

step build build
step native build/gpu/kernel_tests
step tests tests -m gpu
step benchmarks "$PYTHON" -m pytest -p no:cacheprovider benchmarks/kernels -m gpu --benchmark-enable --benchmark-quiet --save-ratios
for tool in memcheck racecheck initcheck synccheck; do
    step "$tool" sanitized "$tool"
done
cp benchmarks/results/kernels.json "$OUT/" 2>/dev/null
cat "$OUT/benchmarks.log"
exit $failed
