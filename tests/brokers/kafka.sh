#!/usr/bin/env bash
# Apache Kafka for the tests: one process that is both controller and broker (KRaft), fetched by Maven. README.md beside
# this file has the verbs.
set -euo pipefail

kind=kafka
default_port=19092
port_step=8 # the controller listens beside the broker, and further listeners of a private one beside that
start_timeout=90
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/kafka

broker_fetch() {
  "$root/tests/need.sh" java=openjdk-17-jre-headless
  fetch_by_maven "50 MB"
}

broker_prepare() {
  local controller=$((port + 1))
  local further=() n
  for ((n = 2; n < port_step; n++)); do
    further+=(-e "s|@PORT+$n@|$((port + n))|g")
  done
  sed -e "s|@PORT@|$port|g" -e "s|@CONTROLLER_PORT@|$controller|g" -e "s|@DATA@|$dir/data|g" "${further[@]}" \
    "$files/server.properties" "$dir/settings" > "$dir/server.properties"
  if [ ! -e "$dir/formatted" ]; then
    # Its content alone: it may be a disk of its own.
    mkdir -p "$dir/data"
    find "$dir/data" -mindepth 1 -delete
    java_command
    "${java[@]}" kafka.tools.StorageTool format --config "$dir/server.properties" --cluster-id "$(cluster_id)" \
      >"$dir/format.log" 2>&1 || { tail -n 5 "$dir/format.log" >&2; die "could not format $dir/data; see $dir/format.log"; }
    touch "$dir/formatted"
  fi
}

broker_command() {
  java_arguments
  # shellcheck disable=SC2034 # read by broker.sh
  command=(java -Xms256m -Xmx512m "${java[@]}" kafka.Kafka "$dir/server.properties")
}

# A KRaft broker accepts connections before it lets itself be found. So the question is not whether the port is open but
# whether the broker lists itself: a Metadata request (version 1, no topics), and at least one broker in the answer.
broker_answers() {
  local connection answer
  { exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  printf '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' >&"$connection" || true
  # Length, correlation id, number of brokers: four bytes each.
  answer=$(timeout 2 head -c 12 <&"$connection" 2>/dev/null | od -An -v -tx1 | tr -d ' \n') || true
  exec {connection}>&-
  [[ $answer == ????????00000001* && ${answer:16} != 00000000 && ${#answer} -eq 24 ]]
}

broker_tool() {
  local class
  case ${1:-} in
    topics) class=org.apache.kafka.tools.TopicCommand ;;
    produce) class=org.apache.kafka.tools.ConsoleProducer ;;
    consume) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
    configs) class=kafka.admin.ConfigCommand ;;
    acls) class=org.apache.kafka.tools.AclCommand ;;
    *) die "the tools are: topics, produce, consume, groups, offsets, configs, acls" ;;
  esac
  # In place of this shell, so that what is signalled is the tool.
  java_command
  exec "${java[@]}" "$class" --bootstrap-server "127.0.0.1:$port" "${@:2}"
}

# Sets `java` to what runs one of Kafka's tools: its class and arguments follow.
java_command() {
  java_arguments
  java=(java -Xmx128m -Dtributary.log.level=warn "${java[@]}")
}

java_arguments() {
  java=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=file:$files/log4j2.properties" -cp "$home/libs/*")
}

# The brokers of one cluster are told theirs by `--set cluster.id=...`, which is no setting of Kafka's. Else sixteen random
# bytes in base64 without padding. No dash: an id that begins with one reads like an option.
cluster_id() {
  local told
  told=$(sed -n 's/^cluster\.id=//p' "$dir/settings")
  echo "${told:-$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c 1-22)}"
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
