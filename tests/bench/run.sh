#!/usr/bin/env bash
# Measures connectors, as they are shipped, beside `oha`, a bare HTTP client, which is built the first time.
# Prints a table for each; nothing is asserted.
#
#   tests/bench/run.sh [WHICH]
#
# WHICH is kafka, sqs, nats, mqtt or cron; unless told otherwise all of them, one after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=1.16.0
tool=var/tools/oha-$version
if [ ! -x "$tool/bin/oha" ]; then
  tests/need.sh cc=build-essential
  echo "building oha $version" >&2
  cargo install --locked --quiet --no-default-features --features native-tls --root "$tool" "oha@$version"
fi

export OHA=$PWD/$tool/bin/oha TEST_RELEASED_BINARIES=1
exec tests/run.sh --package integration --test bench -- --ignored --nocapture --test-threads 1 "$@"
