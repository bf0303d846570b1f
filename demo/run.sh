#!/usr/bin/env bash
# Two functions called on their schedules, without a broker. DEMO_SECONDS=20 ends it by itself; DEMO_FAULT=1 makes a
# function fail always. The exit code is 0 only when every call was answered well.
set -euo pipefail

# shellcheck source=demo/play.sh
source "$(dirname "${BASH_SOURCE[0]}")/play.sh"

[ -n "${DEMO_SECONDS:-}" ] || echo "Ctrl-C ends it"
export print_response=true print_response_body=true rebuild_interval=2s
play demo/stack.yml cron-connector
watch "${DEMO_SECONDS:-}" ''
account
