# shellcheck shell=bash
# What cron.sh and page.sh share: the cron connector as it is shipped, called by nobody but its schedules, before a
# gateway of the run's own.
#
# Sourced from the root of the checkout, by who has set `stage` to the folder of the run; sets `connector` and `gateway`.

# shellcheck disable=SC2154 # set by the script that sources this one
: "$stage"
connector=target/release/cron-connector
gateway=target/release/dev-gateway
[ -x "$gateway" ] || gateway=target/debug/dev-gateway
for binary in "$connector" "$gateway"; do
  [ -x "$binary" ] || { echo "$binary is missing: build it first" >&2; exit 1; }
done
rm -rf "$stage"
mkdir -p "$stage"
processes=()
leave() {
  local process
  for process in "${processes[@]}"; do kill -TERM "$process" 2>/dev/null || true; done
}
trap leave EXIT

# Writes a stack of so many functions; the schedule of the one with number $i is the text that the rest of the arguments
# print for it.
stack() {
  local count=$1 i
  shift
  echo 'provider: {name: openfaas, gateway: "http://127.0.0.1:8080"}'
  echo 'functions:'
  for ((i = 0; i < count; i++)); do
    printf '  f%d: {image: none, annotations: {topic: cron-function, schedule: "%s"}}\n' "$i" "$("$@" "$i")"
  done
}

# Starts the gateway with the stack of this name in the folder, and the connector behind it; further arguments are the
# gateway's. Sets `gateway_pid` and `connector_pid`.
serve() {
  local name=$1
  shift
  "$gateway" --listen 127.0.0.1:0 --stack "$stage/$name.yml" --quiet "$@" >"$stage/$name.out" 2>"$stage/gateway.log" &
  gateway_pid=$!
  processes+=("$gateway_pid")
  gateway_url=$(said "$stage/$name.out" 'listening on ') admin_port=0 cron_seconds=true print_response=false \
    "$connector" >"$stage/$name.log" &
  connector_pid=$!
  processes+=("$connector_pid")
}

# Waits until a file has a line with this text, and gives what follows it.
said() {
  until grep -qs "$2" "$1"; do sleep 0.05; done
  sed -n "s/^.*$2//p" "$1"
}

# Of the connector: processor time in hundredths of a second, and how often it went to sleep.
ticks() { awk '{ print $14 + $15 }' "/proc/$connector_pid/stat"; }
wakes() { awk '/^voluntary_ctxt_switches:/ { print $2 }' "/proc/$connector_pid/status"; }
