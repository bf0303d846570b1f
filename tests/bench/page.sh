#!/usr/bin/env bash
# What the status page costs: processor time and memory of a connector at which nobody looks, at which one page is open,
# and at which nobody looks any more.
#
# Functions are called on schedules, so that there is something to show. "Open" asks what the page asks, as often.
#
#   tests/bench/page.sh [FUNCTIONS] [SECONDS]
#
# Unless told otherwise: 100 functions, 60 s of each.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
functions=${1:-100}
seconds=${2:-60}
connector=target/release/cron-connector
gateway=target/release/dev-gateway
[ -x "$gateway" ] || gateway=target/debug/dev-gateway
for binary in "$connector" "$gateway"; do
  [ -x "$binary" ] || { echo "$binary is missing: build it first" >&2; exit 1; }
done
stage=$PWD/var/bench/page
rm -rf "$stage"
mkdir -p "$stage"
processes=()
leave() {
  local process
  for process in "${processes[@]}"; do kill -TERM "$process" 2>/dev/null || true; done
}
trap leave EXIT

# Waits until a file has a line with this text, and gives what follows it.
said() {
  until grep -qs "$2" "$1"; do sleep 0.05; done
  sed -n "s/^.*$2//p" "$1"
}

{
  echo 'provider: {name: openfaas, gateway: "http://127.0.0.1:8080"}'
  echo 'functions:'
  for ((i = 0; i < functions; i++)); do
    printf '  f%d: {image: none, annotations: {topic: cron-function, schedule: "%d/10 * * * * *"}}\n' "$i" $((i % 10))
  done
} >"$stage/stack.yml"
"$gateway" --listen 127.0.0.1:0 --stack "$stage/stack.yml" --quiet >"$stage/gateway.out" 2>"$stage/gateway.log" &
processes+=($!)
address=$(said "$stage/gateway.out" 'listening on ')
gateway_url=$address admin_port=0 cron_seconds=true print_response=false "$connector" >"$stage/connector.log" &
connector_pid=$!
processes+=("$connector_pid")
page=http://127.0.0.1:$(said "$stage/connector.log" 'admin server listens port=')

# As in connector-core/src/admin/page.html: each second, and two of the three less often.
look() {
  local turn
  for ((turn = 0; turn < seconds; turn++)); do
    curl -sf -o "$stage/status" "$page/status"
    [ $((turn % 5)) -ne 0 ] || curl -sf -o "$stage/metrics" "$page/metrics"
    [ $((turn % 3)) -ne 0 ] || curl -sf -o /dev/null "$page/fleet"
    sleep 1
  done
}

ticks() { awk '{ print $14 + $15 }' "/proc/$connector_pid/stat"; }
memory() { awk '/^VmRSS:/ { all = $2 } /^RssAnon:/ { print all " KiB | " $2 " KiB" }' "/proc/$connector_pid/status"; }

measure() {
  local label=$1 cpu
  shift
  cpu=$(ticks)
  "$@"
  cpu=$(($(ticks) - cpu))
  echo "| $label | $((cpu * 10)) ms in $seconds s | $(memory) |"
}

# The first listings and calls are not what is measured.
sleep 20
echo "| $functions functions, each called every 10 s | processor time | resident | of it anonymous |"
echo "|---|---|---|---|"
measure 'nobody looks' sleep "$seconds"
measure 'one page is open' look
measure 'nobody looks any more' sleep "$seconds"
printf '\nThe document has %s KiB, the metrics %s KiB.\n' \
  "$(($(stat -c %s "$stage/status") / 1024))" "$(($(stat -c %s "$stage/metrics") / 1024))"
