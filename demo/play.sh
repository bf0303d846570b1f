# shellcheck shell=bash
# What the demonstrations share: a development gateway, connectors beside it, and the account of the ledger at the end.
#
# A demonstration sources this file, calls `play STACK CONNECTOR...`, waits as it likes, and ends with `account`.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
stage=$PWD/var/demo
# Whoever compiles often may have moved it.
target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
ledger=$stage/ledger.jsonl
gateway=''
connectors=()
interrupted=no
mkdir -p "$stage"
rm -f "$stage"/*.{jsonl,log,out}
trap 'interrupted=yes' INT TERM
trap leave EXIT

# Waits until a file has a line that contains $2, written by process $3.
await() {
  local file=$1 text=$2 process=$3 deadline=$((SECONDS + 30))
  until grep -qsF "$text" "$file"; do
    if ! kill -0 "$process" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "no \"$text\" in $file:" >&2
      cat "${file%.*}".{out,log} 2>/dev/null >&2 || true
      exit 1
    fi
    sleep 0.05
  done
}

# What connector $1 is told beside the environment, one setting a line; a demonstration may have its own.
settings() { :; }

# Builds and starts gateway and connectors. The connectors' settings are the environment it is called with.
play() {
  local stack=$1 binary
  local -a told
  shift
  # shellcheck disable=SC2046 # each connector is a word
  cargo build --locked --quiet $(printf -- '-p %s ' dev-gateway "$@")
  functions=$(awk '/^  [a-z][a-z0-9-]*:$/ && seen { sub(":", ""); print $1 } /^functions:/ { seen = 1 }' "$stack")

  # Sessions of their own: Ctrl-C is for this script, which then ends the connectors first and the gateway after them.
  setsid "$target/debug/dev-gateway" --listen "127.0.0.1:${gateway_port:-0}" --stack "$stack" --ledger "$ledger" --quiet \
    >"$stage/gateway.out" 2>"$stage/gateway.log" &
  gateway=$!
  await "$stage/gateway.out" 'listening on ' "$gateway"
  gateway_url=$(sed -n 's/^listening on //p' "$stage/gateway.out")
  export gateway_url
  for binary in "$@"; do
    mapfile -t told < <(settings "$binary")
    # Any port: there may be several connectors here, and others on this machine.
    admin_port=0 setsid env ${told[@]+"${told[@]}"} "$target/debug/$binary" > >(trap '' INT; exec tee "$stage/$binary.log") &
    connectors+=($!)
  done
}

# How many calls of function $1 have ended; of all, if that is empty.
ended() { grep -c "\"record\":\"end\".*\"function\":\"$1" "$ledger" || true; }

all_run() {
  local process
  for process in "$@"; do kill -0 "$process" 2>/dev/null || return 1; done
}

# Goes on until Ctrl-C, until $1 seconds have passed (empty: no limit), until $2 calls have ended (empty: no number), or
# until a connector ends.
watch() {
  local seconds=$1 calls=$2 began=$SECONDS
  while [ "$interrupted" = no ] && all_run "${connectors[@]}"; do
    [ -z "$seconds" ] || [ $((SECONDS - began)) -lt "$seconds" ] || break
    [ -z "$calls" ] || [ "$(ended '')" -lt "$calls" ] || break
    sleep 0.1
  done
}

# Ends the connectors, prints what the functions saw, and fails unless every one was called and every call ended well.
account() {
  local result=0 process code
  kill -TERM "${connectors[@]}" 2>/dev/null || true
  for process in "${connectors[@]}"; do
    code=0
    wait "$process" || code=$?
    [ "$code" -eq 0 ] || { echo "a connector ended with $code" >&2; result=1; }
  done
  connectors=()
  echo
  echo "what the functions saw:"
  awk -v wanted="$functions" '
    function field(name) {
      return match($0, "\"" name "\":\"?[^\",}]*") ? substr($0, RSTART, RLENGTH) : ""
    }
    /"record":"end"/ {
      name = field("function"); sub(/^.*"/, "", name); sub(/\.openfaas-fn$/, "", name)
      status = field("status"); sub(/^.*:/, "", status)
      calls[name]++
      if (status >= 200 && status < 300) well[name]++
    }
    END {
      bad = 0
      number = split(wanted, names, "\n")
      for (i = 1; i <= number; i++) {
        printf "  %-12s %d calls, %d answered well\n", names[i], calls[names[i]], well[names[i]]
        if (calls[names[i]] == 0 || calls[names[i]] != well[names[i]]) bad = 1
      }
      exit bad
    }' "$ledger" || result=1
  return "$result"
}

leave() {
  local process
  # All at once, since some drain for a while; once each, since a second signal aborts.
  for process in "${connectors[@]}"; do kill -TERM "$process" 2>/dev/null || true; done
  for process in "${connectors[@]}"; do wait "$process" 2>/dev/null || true; done
  [ -n "$gateway" ] || return 0
  kill -TERM "$gateway" 2>/dev/null || true
  wait "$gateway" 2>/dev/null || true
}
