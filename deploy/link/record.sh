#!/usr/bin/env bash
# Writes order.txt anew, from records of what connectors did.
#
#   valgrind --tool=callgrind --demangle=no --compress-strings=no --callgrind-out-file=var/kafka.out \
#     target/x86_64-unknown-linux-gnu/release/kafka-connector
#   deploy/link/record.sh var/*.out && touch connectors/*/src/main.rs
#
# There deploy/images.sh leaves binaries with their symbols. Give each connector a gateway that lists functions and a broker,
# with TLS and without, let it idle for a minute, and end it. Cargo does not know of the list, hence the touch.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

[ $# -gt 0 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 64; }
# Functions of no name are addresses, and parts of one are told apart by a quote and a number.
cat "$@" | sed -n "s/^c\{0,1\}fn=\([^ ']*\).*/\1/p" | grep -v '^0x\|^(' | awk -f "$here/names.awk" | cut -f 1 |
  LC_ALL=C sort -u >"$here/order.txt.new"
mv "$here/order.txt.new" "$here/order.txt"
