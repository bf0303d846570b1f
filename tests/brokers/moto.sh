#!/usr/bin/env bash
# moto for the tests: a stand-in for AWS that knows regions, users and policies (SQS, STS and IAM), fetched by pip.
# README.md beside this file has the verbs.
set -euo pipefail

kind=moto
default_port=19524
port_step=1
start_timeout=60
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/moto

broker_fetch() {
  if cmp -s "$files/requirements.txt" "$home/venv/requirements.txt"; then
    return
  fi
  "$root/tests/need.sh" python3=python3-venv
  say "fetching it into $home/venv (106 MB, once)"
  rm -rf "$home/venv"
  if ! { python3 -m venv "$home/venv" && "$home/venv/bin/pip" install -q --no-compile -r "$files/requirements.txt"; } \
    >"$home/fetch.log" 2>&1; then
    tail -n 20 "$home/fetch.log" >&2
    die "could not fetch it; run again, or see why: $home/venv/bin/pip install -r $files/requirements.txt"
  fi
  # Last, so that a fetch cut short is seen as such.
  cp "$files/requirements.txt" "$home/venv/requirements.txt"
}

# It keeps everything in memory, and has no settings.
broker_prepare() { :; }

broker_command() {
  # shellcheck disable=SC2034 # read by broker.sh
  command=("$home/venv/bin/python" -m moto.server -H 127.0.0.1 -p "$port")
}

# Where policies are required, this request is refused, which is as good.
broker_answers() {
  [[ $(request POST '/?Action=ListQueues' 2>/dev/null) == "HTTP/1.1 "[24]* ]]
}

# From now on, or after so many requests, every one must be allowed to its user by a policy; `inf` ends that.
broker_tool() {
  case ${1:-} in
    require-policies) request POST /moto-api/reset-auth "${2:-0}" ;;
    *) die "the tools are: require-policies [REQUESTS]" ;;
  esac
}

request() {
  local connection body=${3:-}
  { exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$2" "$port" "${#body}" "$body" >&"$connection" || true
  timeout 5 cat <&"$connection" || true
  exec {connection}>&-
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
