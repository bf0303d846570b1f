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
connector=target/release/cron-connector
gateway=target/release/dev-gateway
[ -x "$gateway" ] || gateway=target/debug/dev-gateway
for binary in "$connector" "$gateway"; do
  [ -x "$binary" ] || { echo "$binary is missing: build it first" >&2; exit 1; }
done
stage=$PWD/var/bench/cron
rm -rf "$stage"
mkdir -p "$stage"
processes=()
leave() {
  local process
  for process in "${processes[@]}"; do kill -TERM "$process" 2>/dev/null || true; done
}
trap leave EXIT

# Writes a stack in which the schedule of function $i is the text that "$@" prints for it.
stack() {
  echo 'provider: {name: openfaas, gateway: "http://127.0.0.1:8080"}'
  echo 'functions:'
  local i
  for ((i = 0; i < schedules; i++)); do
    printf '  f%d: {image: none, annotations: {topic: cron-function, schedule: "%s"}}\n' "$i" "$("$@" "$i")"
  done
}

# A tick each minute for each function: at a second of its own, all together, and none while this runs.
spread() { echo "$(($1 % 60)) * * * * *"; }
together() { echo "*/10 * * * * *"; }
idle() { echo "0 0 0 1 1 *"; }

ticks_of() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
rss_of() { awk '/^VmRSS:/ { all = $2 } /^RssAnon:/ { print all, "KiB, of it anonymous", $2 }' "/proc/$1/status"; }
wakes_of() { awk '/^voluntary_ctxt_switches:/ { print $2 }' "/proc/$1/status"; }

measure() {
  local kind=$1 address ledger=$stage/$1.jsonl running cpu wakes
  stack "$kind" >"$stage/$kind.yml"
  "$gateway" --listen 127.0.0.1:0 --stack "$stage/$kind.yml" --ledger "$ledger" --quiet \
    >"$stage/$kind.out" 2>"$stage/gateway.log" &
  processes+=($!)
  until grep -qs '^listening on ' "$stage/$kind.out"; do sleep 0.05; done
  address=$(sed -n 's/^listening on //p' "$stage/$kind.out")
  gateway_url=$address admin_port=0 cron_seconds=true print_response=false "$connector" >"$stage/$kind.log" &
  running=$!
  processes+=("$running")
  # The first listings are not what is measured.
  sleep 15
  cpu=$(ticks_of "$running") wakes=$(wakes_of "$running")
  sleep "$seconds"
  cpu=$(($(ticks_of "$running") - cpu)) wakes=$(($(wakes_of "$running") - wakes))
  printf '%-9s %d schedules: cpu %s ms in %s s (listings included), %s wake-ups, rss %s KiB\n' \
    "$kind" "$schedules" "$((cpu * 10))" "$seconds" "$wakes" "$(rss_of "$running")"
  kill -TERM "$running" "${processes[-2]}"
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
