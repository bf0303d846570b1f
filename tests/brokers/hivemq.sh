#!/usr/bin/env bash
# HiveMQ Community Edition for the tests: a second broker that speaks MQTT 5, by other people in another language; fetched
# by Maven. README.md beside this file has the verbs.
set -euo pipefail

kind=hivemq
default_port=18850
port_step=1
start_timeout=90
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/hivemq

broker_fetch() {
  "$root/tests/need.sh" java=openjdk-17-jre-headless mosquitto_sub=mosquitto-clients
  fetch_by_maven "110 MB"
}

# The settings are lines of XML, such as <mqtt><queued-messages>...</queued-messages></mqtt>.
broker_prepare() {
  mkdir -p "$dir/conf" "$dir/data" "$dir/extensions"
  {
    echo '<?xml version="1.0"?>'
    echo '<hivemq>'
    echo "  <listeners><tcp-listener><port>$port</port><bind-address>127.0.0.1</bind-address></tcp-listener></listeners>"
    echo '  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>'
    cat "$dir/settings"
    echo '</hivemq>'
  } > "$dir/conf/config.xml"
}

broker_command() {
  # shellcheck disable=SC2034 # read by broker.sh
  command=(
    java -Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    --add-opens java.base/java.lang=ALL-UNNAMED --add-opens java.base/java.nio=ALL-UNNAMED
    --add-opens java.base/sun.nio.ch=ALL-UNNAMED --add-opens jdk.management/com.sun.management.internal=ALL-UNNAMED
    --add-exports java.base/jdk.internal.misc=ALL-UNNAMED
    -cp "$home/libs/*" groovy.ui.GroovyMain "$files/start.groovy" "$dir"
  )
}

# The port opens before the one who lets clients in is there, so the question is whether a client is let in.
broker_answers() { mosquitto_pub -V 5 -h 127.0.0.1 -p "$port" -i up -t up -n >/dev/null 2>&1; }

broker_tool() {
  case ${1:-} in
    pub | sub) "mosquitto_$1" -h 127.0.0.1 -p "$port" "${@:2}" ;;
    *) die "the tools are: pub, sub" ;;
  esac
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
