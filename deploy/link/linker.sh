#!/usr/bin/env bash
# The linker of the images' binaries: a C compiler, and two things that Rust's own way of calling it leaves out.
#
# What a start and a minute of idling pass through comes first, side by side: order.txt names it. The kernel maps a binary in
# pieces of 64 KiB and more, and these functions lie in nearly all of them otherwise, so that nearly all of it is resident.
# Only lld can do that; another linker leaves the order as it is.
#
# And a static binary has no fixed address on aarch64 either, where Rust asks for one. Whoever finds a hole in the C code that
# parses what comes from a network does not know then where anything lies.
#
# LINKER_CC names the compiler (cc).
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

arguments=()
objects=()
lld=
for argument in "$@"; do
  case $argument in
    -static) argument=-static-pie ;;
    -no-pie) continue ;;
    -fuse-ld=lld) lld=yes ;;
    *.o | *.rlib | *.a) objects+=("$argument") ;;
  esac
  arguments+=("$argument")
done

if [ "$lld" ]; then
  order=$(mktemp)
  trap 'rm -f "$order"' EXIT
  nm --defined-only --format=posix "${objects[@]}" 2>/dev/null | awk -f "$here/names.awk" |
    awk -F '\t' 'NR == FNR { first[$1]; next } $1 in first { print $2 }' "$here/order.txt" - >"$order"
  arguments+=("-Wl,--symbol-ordering-file=$order" "-Wl,--no-warn-symbol-ordering")
fi
"${LINKER_CC:-cc}" "${arguments[@]}"
