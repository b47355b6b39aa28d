#!/bin/bash
# The C tests for aarch64 (NEON and plain C), cross-compiled and run by an emulator: a seeded sample, for it is slow.
#   sudo apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
set -eu
cd "$(dirname "$0")/../csrc/tests"
export CHECK_SAMPLE="${CHECK_SAMPLE:-0.05}"
export CC=aarch64-linux-gnu-gcc RUN="qemu-aarch64 -L /usr/aarch64-linux-gnu"
make -s -j2
make -s check
