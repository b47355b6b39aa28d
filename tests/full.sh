#!/bin/bash
# Everything that takes longer than .ci/run may: the whole sweeps of the C tests, also under sanitizers, without
# OpenMP and for NEON (tests/neon.sh says what that takes); what the GPU's code takes CuPy for, against CuPy itself
# (installed here); the Python tests on every instruction set of this machine, with 1 and 3 threads, on a build without
# OpenMP, and with many more random examples.
#   PYTHON=.venv/bin/python tests/full.sh
set -eu
cd "$(dirname "$0")/.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")

unset CHECK_SAMPLE CHECK_SEED # whole sweeps, whatever the caller has set
echo "== C tests"
make -s -C csrc/tests check
echo "== C tests, sanitizers"
make -s -C csrc/tests check SANITIZE=1
echo "== C tests, no OpenMP"
make -s -C csrc/tests check NO_OPENMP=1
if command -v aarch64-linux-gnu-gcc qemu-aarch64 >/dev/null; then
    echo "== C tests, NEON"
    tests/neon.sh
fi

echo "== CuPy, which imports without a driver"
"$python" -m pip install -q 'cupy-cuda13x>=14'
"$python" -m pytest -q tests/test_gpu.py -k "cupy or nvidia"

isas=$("$python" -c 'from tinyconv.runtime import _cpu; print(*_cpu.isas())')
for isa in $isas; do
    echo "== Python tests, $isa"
    TINYCONV_ISA=$isa "$python" -m pytest -q
done

for threads in 1 3; do
    echo "== Python tests, $threads threads"
    OMP_NUM_THREADS=$threads "$python" -m pytest -q
done

echo "== Python tests, no OpenMP"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - |
    tar -xf - -C "$temporary"
(
    cd "$temporary"
    python3 -m venv .venv
    TINYCONV_NO_OPENMP=1 .venv/bin/pip install -q -e '.[test]'
    .venv/bin/python -c 'from tinyconv.runtime import _cpu; assert not _cpu.has_openmp()'
    .venv/bin/python -m pytest -q
)

echo "== Python tests, many random examples"
"$python" -m pytest -q --hypothesis-profile=full
echo "== 50 random kills"
"$python" tests/kills.py
echo "== Training with and without Winograd"
"$python" tests/winograd_training.py
echo "== 100,000 random programs"
"$python" tests/test_lang_fuzz.py 100000
echo "all is well"
