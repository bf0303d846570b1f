#!/usr/bin/env bash
# Measures connectors, as they are shipped, beside `oha`, a bare HTTP client, which is built the first time.
# Prints a table for each; nothing is asserted.
#
#   tests/bench/run.sh [SOURCE...] [--runs N] [--record docs/performance.md]
#
# SOURCE is kafka, jetstream, mqtt, sqs, cron or mapping (the topic map by itself); unless told otherwise all of them, one after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=1.16.0
tool=var/tools/oha-$version
if [ ! -x "$tool/bin/oha" ]; then
  tests/need.sh cc=build-essential
  echo "building oha $version" >&2
  cargo install --locked --quiet --no-default-features --features native-tls --root "$tool" "oha@$version"
fi
for kind in kafka nats mosquitto elasticmq; do tests/brokers/$kind.sh fetch; done

# Built one by one, as they are shipped, and without the setting by which development builds use the system's OpenSSL.
for package in dev-gateway {kafka,nats,mqtt,sqs,cron}-connector; do
  env -u OPENSSL_NO_VENDOR cargo build --locked --quiet --release --package "$package"
done

export OHA=$PWD/$tool/bin/oha TEST_RELEASED_BINARIES=1
exec cargo run --locked --quiet --package bench -- "$@"
