#!/usr/bin/env bash
# OpenFaaS's own connector for MQTT. README.md beside this has the contract.
set -euo pipefail

program=${MQTT_CONNECTOR:-mqtt-connector}
case "$1 $2" in
  "found mqtt")
    command -v "$program" >/dev/null
    echo "OpenFaaS mqtt-connector"
    ;;
  "run mqtt")
    exec "$program" -broker "$BENCH_BROKER" -topic "$BENCH_TOPIC" -id "$BENCH_NAME" -qos 1 -gateway "$BENCH_GATEWAY"
    ;;
  *) exit 1 ;;
esac
