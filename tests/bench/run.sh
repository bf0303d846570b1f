#!/usr/bin/env bash
# Measures the Kafka and the SQS connector, as they are shipped, beside `oha`, a bare HTTP client, which is built the
# first time. Prints tables; nothing is asserted.
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
exec tests/run.sh --package integration --test bench -- --ignored --nocapture
