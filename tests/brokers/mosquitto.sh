#!/usr/bin/env bash
# Eclipse Mosquitto for the tests: the package of the system. README.md beside this file has the verbs.
#
# Every change of a session is on the disk before the next one (autosave_interval 1 with autosave_on_changes), so that a
# broker that is killed comes back with what it had acknowledged.
set -euo pipefail

kind=mosquitto
default_port=18830
port_step=1
start_timeout=20

broker_fetch() {
  # Debian keeps daemons in a folder that is not on everybody's path.
  PATH=$PATH:/usr/sbin
  "$root/tests/need.sh" mosquitto=mosquitto mosquitto_sub=mosquitto-clients
}

broker_prepare() {
  mkdir -p "$dir/data"
  {
    # Not on by default where --set gives listeners of its own.
    grep -q '^listener ' "$dir/settings" || echo "listener $port 127.0.0.1"
    grep -q '^allow_anonymous ' "$dir/settings" || echo "allow_anonymous true"
    cat <<CONFIGURATION
persistence true
persistence_location $dir/data/
autosave_interval 1
autosave_on_changes true
log_type all
log_timestamp_format %Y-%m-%dT%H:%M:%S
CONFIGURATION
    # Settings may refer to the broker's own port and folder.
    sed -e "s|@PORT@|$port|g" -e "s|@DIR@|$dir|g" "$dir/settings"
  } > "$dir/mosquitto.conf"
  # Started by root it would become the user `mosquitto`, who may not write here.
  [ "$(id -u)" -ne 0 ] || echo "user root" >> "$dir/mosquitto.conf"
}

broker_command() {
  PATH=$PATH:/usr/sbin
  # shellcheck disable=SC2034 # read by broker.sh
  command=(mosquitto -c "$dir/mosquitto.conf")
}

# It listens before it has read its data, so the question is a CONNECT (3.1.1, clean, id "up"), and the answer a CONNACK,
# whatever its code: a broker that asks for a password serves its clients too. One with TLS alone is asked for its port only.
broker_answers() {
  local connection answer
  { exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  if grep -qs '^\(certfile\|protocol\)' "$dir/settings"; then
    exec {connection}>&-
    return 0
  fi
  printf '\x10\x0e\0\x04MQTT\x04\x02\0\x0a\0\x02up' >&"$connection" || true
  answer=$(timeout 2 head -c 1 <&"$connection" 2>/dev/null | od -An -v -tx1 | tr -d ' \n') || true
  exec {connection}>&-
  [ "$answer" = 20 ]
}

broker_tool() {
  case ${1:-} in
    pub | sub) "mosquitto_$1" -h 127.0.0.1 -p "$port" "${@:2}" ;;
    *) die "the tools are: pub, sub" ;;
  esac
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
