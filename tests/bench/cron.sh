#!/usr/bin/env bash
# How late ticks are with many schedules, and what the cron connector costs meanwhile and when idle.
#
# Lateness is from a tick's instant to the moment the gateway has read its call: both stand in the gateway's ledger.
#
#   tests/bench/cron.sh [SCHEDULES] [SECONDS] [KIND...]
#
# Unless told otherwise: 1000 schedules, 60 s of each kind (spread, together, idle).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
schedules=${1:-1000}
seconds=${2:-60}
stage=$PWD/var/bench/cron
# shellcheck source=tests/bench/stage.sh
source tests/bench/stage.sh

# A tick each minute for each function: at a second of its own, all together, and none while this runs.
spread() { echo "$(($1 % 60)) * * * * *"; }
together() { echo "*/10 * * * * *"; }
idle() { echo "0 0 0 1 1 *"; }

memory() { awk '/^VmRSS:/ { all = $2 } /^RssAnon:/ { print all, "KiB, of it anonymous", $2 }' "/proc/$connector_pid/status"; }

measure() {
  local kind=$1 ledger=$stage/$1.jsonl cpu wakes
  stack "$schedules" "$kind" >"$stage/$kind.yml"
  serve "$kind" --ledger "$ledger"
  # The first listings are not what is measured.
  sleep 15
  cpu=$(ticks) wakes=$(wakes)
  sleep "$seconds"
  cpu=$(($(ticks) - cpu)) wakes=$(($(wakes) - wakes))
  printf '%-9s %d schedules: cpu %s ms in %s s (listings included), %s wake-ups, rss %s KiB\n' \
    "$kind" "$schedules" "$((cpu * 10))" "$seconds" "$wakes" "$(memory)"
  kill -TERM "$connector_pid" "$gateway_pid"
  wait || true
  TZ=UTC awk '
    /"record":"start"/ && match($0, /@[0-9]+-[^"]*Z"/) {
      instant = substr($0, RSTART + 1, RLENGTH - 3)
      gsub(/[-:T]/, " ", instant)
      match($0, /"wall_ns":[0-9]+/)
      print (substr($0, RSTART + 10, RLENGTH - 10) / 1e9 - mktime(instant)) * 1000
    }' "$ledger" | sort -n | awk '
    { late[NR] = $1 }
    END {
      if (NR) printf "          %d ticks late by p50 %.2f ms, p99 %.2f ms, most %.2f ms\n",
        NR, late[int(NR * 0.5) + 1], late[int(NR * 0.99) + 1], late[NR]
    }'
}

kinds=("${@:3}")
for kind in "${kinds[@]:-spread together idle}"; do
  # shellcheck disable=SC2086 # the default is three words
  for one in $kind; do measure "$one"; done
done
