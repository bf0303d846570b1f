# shellcheck shell=bash
# What the demonstrations share: a development gateway, a connector beside it, and the account of the ledger at the end.
#
# A demonstration sources this file, calls `play STACK CONNECTOR`, waits as it likes, and ends with `account`.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
stage=$PWD/var/demo
ledger=$stage/ledger.jsonl
gateway=''
connector=''
interrupted=no
trap 'interrupted=yes' INT TERM
trap leave EXIT

# Builds and starts gateway and connector. The connector's settings are the environment it is called with.
play() {
  local stack=$1 binary=$2 deadline
  cargo build --locked --quiet -p dev-gateway -p "$binary"
  mkdir -p "$stage"
  rm -f "$ledger"
  functions=$(awk '/^  [a-z][a-z0-9-]*:$/ && seen { sub(":", ""); print $1 } /^functions:/ { seen = 1 }' "$stack")

  # Sessions of their own: Ctrl-C is for this script, which then ends the connector first and the gateway after it.
  setsid target/debug/dev-gateway --listen 127.0.0.1:0 --stack "$stack" --ledger "$ledger" --quiet \
    >"$stage/gateway.out" 2>"$stage/gateway.log" &
  gateway=$!
  deadline=$((SECONDS + 10))
  until grep -qs '^listening on ' "$stage/gateway.out"; do
    if ! kill -0 "$gateway" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      cat "$stage/gateway.log" >&2
      echo "the development gateway did not start" >&2
      exit 1
    fi
    sleep 0.05
  done
  gateway_url=$(sed -n 's/^listening on //p' "$stage/gateway.out") \
    setsid "target/debug/$binary" &
  connector=$!
}

# Goes on until Ctrl-C, until $1 seconds have passed (empty: no limit), or until $2 calls have ended (empty: no number).
watch() {
  local seconds=$1 calls=$2 began=$SECONDS
  while [ "$interrupted" = no ] && kill -0 "$connector" 2>/dev/null; do
    [ -z "$seconds" ] || [ $((SECONDS - began)) -lt "$seconds" ] || break
    [ -z "$calls" ] || [ "$(grep -c '"record":"end"' "$ledger" || true)" -lt "$calls" ] || break
    sleep 0.1
  done
}

# Ends the connector, prints what the functions saw, and fails unless every one was called and every call ended well.
account() {
  local result=0
  kill -TERM "$connector" 2>/dev/null || true
  wait "$connector" || result=$?
  connector=''
  [ "$result" -eq 0 ] || echo "the connector ended with $result" >&2
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
  for process in $connector $gateway; do
    kill -TERM "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
}
