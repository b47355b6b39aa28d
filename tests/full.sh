#!/bin/bash
# Everything that takes longer than .ci/run may, hours in all; sections can be asked for by name.
#   PYTHON=.venv/bin/python tests/full.sh [SECTION...]
#     c           the whole sweeps of the C tests
#     sanitizers  the same under sanitizers
#     serial      the same without OpenMP
#     neon        a sample of them for NEON, where tests/neon.sh finds what it takes
#     cupy        what the GPU's code takes CuPy for, against CuPy itself, installed here (it imports without a driver)
#     isas        the Python tests on every instruction set of this machine
#     threads     the Python tests with 1 and 3 threads
#     no-openmp   the Python tests on a build without OpenMP
#     examples    the Python tests with many more random examples
#     kills       50 random kills of a training
#     winograd    training with and without Winograd
#     fuzz        100,000 random programs
set -eu
cd "$(dirname "$0")/.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
unset CHECK_SAMPLE CHECK_SEED # whole sweeps, whatever the caller has set

c() { make -s -C csrc/tests check; }
sanitizers() { make -s -C csrc/tests check SANITIZE=1; }
serial() { make -s -C csrc/tests check NO_OPENMP=1; }

neon() {
    if command -v aarch64-linux-gnu-gcc qemu-aarch64 >/dev/null; then
        tests/neon.sh
    else
        echo "left out: no aarch64-linux-gnu-gcc or qemu-aarch64"
    fi
}

cupy() {
    "$python" -m pip install -q 'cupy-cuda13x>=14'
    "$python" -m pytest -q tests/test_gpu.py -k "cupy or nvidia"
}

isas() {
    local found isa
    found=$("$python" -c 'from tinyconv.runtime import _cpu; print(*_cpu.isas())')
    for isa in $found; do
        echo "-- $isa"
        TINYCONV_ISA=$isa "$python" -m pytest -q
    done
}

threads() {
    local count
    for count in 1 3; do
        echo "-- $count threads"
        OMP_NUM_THREADS=$count "$python" -m pytest -q
    done
}

no-openmp() (
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    git ls-files -z --cached --others --exclude-standard |
        tar --null --ignore-failed-read -cf - -T - | tar -xf - -C "$folder"
    cd "$folder"
    python3 -m venv .venv
    TINYCONV_NO_OPENMP=1 .venv/bin/pip install -q -e '.[test]'
    .venv/bin/python -c 'from tinyconv.runtime import _cpu; assert not _cpu.has_openmp()'
    .venv/bin/python -m pytest -q
)

examples() { "$python" -m pytest -q --hypothesis-profile=full; }
kills() { "$python" tests/kills.py; }
winograd() { "$python" tests/winograd_training.py; }
fuzz() { "$python" tests/test_lang_fuzz.py 100000; }

sections=(c sanitizers serial neon cupy isas threads no-openmp examples kills winograd fuzz)
for section in "$@"; do
    [[ " ${sections[*]} " == *" $section "* ]] || { echo "no section $section: ${sections[*]}"; exit 2; }
done
[ $# -gt 0 ] || set -- "${sections[@]}"
for section in "$@"; do
    echo "== $section"
    $section
done
echo "all is well"
