#!/bin/sh
# Stands between cargo and rustc (RUSTC_WORKSPACE_WRAPPER): the crates of this workspace, and no others, are compiled so
# that the fuzzer sees which way an input takes. These are the flags of cargo-fuzz; none of them needs a nightly compiler.
exec "$@" \
  -C passes=sancov-module \
  -C llvm-args=-sanitizer-coverage-level=4 \
  -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
  -C llvm-args=-sanitizer-coverage-pc-table \
  -C llvm-args=-sanitizer-coverage-trace-compares
