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
stage=$PWD/var/bench/page
# shellcheck source=tests/bench/stage.sh
source tests/bench/stage.sh

every_ten_seconds() { echo "$(($1 % 10))/10 * * * * *"; }

stack "$functions" every_ten_seconds >"$stage/stack.yml"
serve stack
page=http://127.0.0.1:$(said "$stage/stack.log" 'admin server listens port=')

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
