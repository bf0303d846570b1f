#!/usr/bin/env bash
# A bench to develop on: the development gateway, brokers and connectors, until Ctrl-C.
#
#   demo/dev.sh [KIND...]     kinds of connectors: cron kafka mqtt nats sqs; without any: cron mqtt
#
# Functions are those of DEV_STACK (demo/dev.yml). When that file changes, they change: no restart. DEV_PORT is the
# gateway's port (8080); settings of connectors may be given in the environment, such as debug=true.
set -euo pipefail

# shellcheck source=demo/play.sh
source "$(dirname "${BASH_SOURCE[0]}")/play.sh"

[ $# -gt 0 ] || set -- cron mqtt
stack=${DEV_STACK:-demo/dev.yml}
# shellcheck disable=SC2034 # read by play.sh
gateway_port=${DEV_PORT:-8080}
export rebuild_interval=${rebuild_interval:-1s} print_response=${print_response:-true}
broker=(--name dev)
brokers=()
trap 'leave; stop_brokers' EXIT

# The broker of each kind, by its script under tests/brokers.
broker_of() {
  case $1 in
    cron) ;;
    kafka | nats) echo "$1" ;;
    mqtt) echo mosquitto ;;
    sqs) echo elasticmq ;;
    *) echo "there is no connector of the kind $1" >&2; return 1 ;;
  esac
}

# What a connector is told beside the environment, one setting a line.
settings() {
  local kind=${1%-connector} at
  at=${address[$kind]:-}
  case $kind in
    kafka) printf '%s\n' "broker_hosts=$at" group=dev initial_offset=oldest ordering=key ;;
    mqtt) printf '%s\n' "broker=tcp://$at" id=dev qos=1 ;;
    nats) printf '%s\n' "broker_host=$at" asynchronous_invocation=false ;;
    sqs) printf '%s\n' "endpoint_url=http://$at" region=elasticmq wait_time=1s AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x ;;
  esac
}

# How an event is published that the functions of demo/dev.yml are called with.
publishing() {
  local tool
  tool="tests/brokers/$(broker_of "$1").sh tool ${broker[*]}"
  case $1 in
    cron) echo "nothing to publish: schedules fire by themselves" ;;
    kafka) echo "echo '{\"id\": 1}' | $tool produce --topic orders" ;;
    mqtt) echo "$tool pub -q 1 -t orders -m '{\"id\": 1}'" ;;
    nats) printf '%s\n' "printf 'CONNECT {}\r\nPUB orders 9\r\n{\"id\": 1}\r\n' >/dev/tcp/${2/://}" ;;
    sqs) echo "$tool SendMessage QueueUrl=http://$2/000000000000/orders MessageBody=1" ;;
  esac
}

stop_brokers() {
  local kind
  for kind in ${brokers[@]+"${brokers[@]}"}; do "tests/brokers/$kind.sh" wipe "${broker[@]}" >/dev/null; done
}

declare -A address=()
programs=()
for kind in "$@"; do
  script=$(broker_of "$kind")
  programs+=("$kind-connector")
  [ -n "$script" ] || continue
  up=$("tests/brokers/$script.sh" up "${broker[@]}")
  [[ $up != *STARTED=yes* ]] || brokers+=("$script")
  address[$kind]=$(sed -n 's/^ADDRESS=//p' <<<"$up")
  case $kind in
    kafka) tests/brokers/kafka.sh tool "${broker[@]}" topics --create --if-not-exists --topic orders --partitions 3 >/dev/null ;;
    sqs) tests/brokers/elasticmq.sh tool "${broker[@]}" CreateQueue QueueName=orders >/dev/null ;;
  esac
done
play "$stack" "${programs[@]}"

# Said at once when all are there: their logs come between otherwise.
# shellcheck disable=SC2154 # play.sh sets it
said="
gateway     $gateway_url  (its functions: $stack; faults: tests/dev-gateway/README.md)
"
for i in "${!programs[@]}"; do
  kind=${programs[i]%-connector} log=$stage/${programs[i]}.log
  await "$log" 'admin server listens' "${connectors[i]}"
  port=$(sed -n 's/.*admin server listens port=//p' "$log")
  said+="$(printf '%-11s' "$kind") http://127.0.0.1:$port/  (status page)
            $(publishing "$kind" "${address[$kind]:-}")
"
done
echo "$said
Ctrl-C ends all of it
"
watch '' ''
[ "$interrupted" = yes ]
