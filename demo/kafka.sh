#!/usr/bin/env bash
# Records of a real Kafka topic call a Python function: twenty sign-ups, read from the beginning of the topic
# user.signup by a group that has never read before.
set -euo pipefail

# shellcheck source=demo/play.sh
source "$(dirname "${BASH_SOURCE[0]}")/play.sh"

records=demo/user.signup.jsonl
broker=(tests/brokers/kafka.sh)
name=demo

# The function needs Jinja2: the system's, or one in a folder of its own.
tests/need.sh python3=python3
export PYTHONPATH=$stage/python
if ! python3 -c 'import jinja2' 2>/dev/null; then
  tests/need.sh pip3=python3-pip
  python3 -m pip install --quiet --target "$PYTHONPATH" -r demo/user-fn/requirements.txt
fi

# A broker of its own, so that a topic named user.signup is nobody else's.
"${broker[@]}" wipe --name "$name"
broker_host=$("${broker[@]}" up --name "$name" | sed -n 's/^ADDRESS=//p')
trap 'leave; "${broker[@]}" wipe --name "$name"' EXIT
"${broker[@]}" tool --name "$name" topics --create --topic user.signup --partitions 3 >/dev/null
"${broker[@]}" tool --name "$name" produce --topic user.signup < "$records"

export broker_host topics=user.signup group=faas-group-1 initial_offset=oldest content_type=text/plain
export asynchronous_invocation=false print_response=true print_response_body=true log_sessions=true
play demo/user-fn.yml kafka-connector
watch "${DEMO_SECONDS:-60}" "$(wc -l < "$records")"
account
