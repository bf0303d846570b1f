#!/usr/bin/env bash
# ElasticMQ for the tests: a server that speaks the SQS protocol and keeps its messages, fetched by Maven. README.md
# beside this file has the verbs.
set -euo pipefail

kind=elasticmq
default_port=19324
port_step=1
start_timeout=90
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/elasticmq

broker_fetch() {
  "$root/tests/need.sh" java=openjdk-17-jre-headless
  fetch_by_maven "37 MB"
}

broker_prepare() {
  mkdir -p "$dir/data"
  sed -e "s|@PORT@|$port|g" -e "s|@DATA@|$dir/data|g" "$files/elasticmq.conf" "$dir/settings" > "$dir/elasticmq.conf"
}

broker_command() {
  # shellcheck disable=SC2034 # read by broker.sh
  command=(java -Xms64m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dconfig.file=$dir/elasticmq.conf"
    -cp "$home/libs/*" org.elasticmq.server.Main)
}

broker_answers() {
  [[ $(request ListQueues 2>/dev/null) == "HTTP/1.1 200"* ]]
}

# The tools are actions of the query protocol: tool CreateQueue QueueName=orders Attribute.1.Name=...
broker_tool() {
  [ $# -gt 0 ] || die "name an action of SQS: ${0##*/} tool ListQueues; ${0##*/} tool CreateQueue QueueName=orders"
  request "$@" | sed '1,/^\r*$/d'
  echo
}

request() {
  local connection query="/?Action=$1&Version=2012-11-05" parameter
  for parameter in "${@:2}"; do
    query+="&$parameter"
  done
  { exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$query" "$port" >&"$connection" || true
  timeout 5 cat <&"$connection" || true
  exec {connection}>&-
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
