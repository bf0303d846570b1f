#!/usr/bin/env bash
# Sensors publish readings to an MQTT broker, a function is called with each of them, and two others on schedules. The
# broker is built here as well: nothing is to be installed. DEMO_SECONDS=20 ends it by itself; DEMO_FAULT=1 makes a
# function fail always. The exit code is 0 only when every reading was called and every call was answered well.
set -euo pipefail

# shellcheck source=demo/play.sh
source "$(dirname "${BASH_SOURCE[0]}")/play.sh"

[ -n "${DEMO_SECONDS:-}" ] || echo "Ctrl-C ends it"
cargo build --locked --quiet --manifest-path demo/broker/Cargo.toml --target-dir "$target"
coproc sensors { exec setsid "$target/debug/demo-broker" >"$stage/broker.out" 2>"$stage/broker.log"; }
# shellcheck disable=SC2154 # coproc sets it
broker_pid=$sensors_PID input=${sensors[1]}
trap 'leave; kill "$broker_pid"' EXIT
await "$stage/broker.out" 'listening on ' "$broker_pid"
broker=$(sed -n 's/^listening on //p' "$stage/broker.out")

export broker id=demo qos=1 print_response=true print_response_body=true rebuild_interval=2s
play demo/stack.yml mqtt-connector cron-connector
# Before that the broker keeps nothing for it.
await "$stage/mqtt-connector.log" subscribed "${connectors[0]}"
echo >&"$input"
watch "${DEMO_SECONDS:-}" ''

# What has been published is still to be called.
exec {input}>&-
await "$stage/broker.out" 'published ' "$broker_pid"
published=$(sed -n 's/^published //p' "$stage/broker.out")
deadline=$((SECONDS + 10))
until [ "$(ended alert)" -ge "$published" ] || [ "$SECONDS" -ge "$deadline" ]; do sleep 0.1; done

account && result=0 || result=1
called=$(ended alert)
echo "  readings     $published published"
if [ "$called" -lt "$published" ]; then
  echo "readings were lost: alert was called $called times for $published" >&2
  result=1
fi
exit "$result"
