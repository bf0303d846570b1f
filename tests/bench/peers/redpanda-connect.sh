#!/usr/bin/env bash
# Redpanda Connect, with one HTTP output. README.md beside this has the contract.
set -euo pipefail

program=${REDPANDA_CONNECT:-redpanda-connect}

input() {
  case $1 in
    kafka) echo "kafka_franz: {seed_brokers: [\"$BENCH_BROKER\"], topics: [\"$BENCH_NAME\"], consumer_group: \"$BENCH_NAME\"}" ;;
    jetstream) echo "nats_jetstream: {urls: [\"$BENCH_BROKER\"], stream: \"$BENCH_NAME\", subject: \"$BENCH_TOPIC\", durable: peer, deliver: all, max_ack_pending: 1024}" ;;
    mqtt) echo "mqtt: {urls: [\"$BENCH_BROKER\"], topics: [\"$BENCH_TOPIC\"], client_id: \"$BENCH_NAME\", clean_session: false, qos: 1}" ;;
    *) return 1 ;;
  esac
}

case $1 in
  found)
    BENCH_BROKER='' BENCH_NAME='' BENCH_TOPIC='' input "$2" >/dev/null
    command -v "$program" >/dev/null
    echo "Redpanda Connect"
    ;;
  run)
    config=$(mktemp --suffix .yaml)
    cat >"$config" <<END
http: {enabled: false}
logger: {level: ERROR}
input:
  $(input "$2")
output:
  http_client:
    url: $BENCH_GATEWAY/function/work
    verb: POST
    headers: {Content-Type: application/octet-stream}
    max_in_flight: $BENCH_RUNNING
END
    exec "$program" run "$config"
    ;;
  *) exit 1 ;;
esac
