#!/usr/bin/env bash
# Runs every test: fetches and starts the brokers, runs cargo, stops the brokers that it started, and prints the totals.
# Arguments go to `cargo test` in place of `--workspace`.
#
# It fails when a test fails, and when none ran: a mistyped filter must not look like success.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The software of every broker before the tests that start their own: fetched side by side, they would wait for each
# other, and for the package manager, within tests.
for script in tests/brokers/*.sh; do
  # Kubernetes takes a quarter of an hour to compile, for tests that run only where they are asked for.
  [[ $script == */broker.sh || $script == */kubernetes.sh ]] || "$script" fetch
done
tests/helm.sh >/dev/null
tests/need.sh openssl=openssl chromium=chromium chromedriver=chromium-driver zsh=zsh fish=fish jsonschema=python3-jsonschema prometheus=prometheus faketime=faketime

brokers=(elasticmq kafka)
started=()
stop_brokers() {
  for broker in ${started[@]+"${started[@]}"}; do
    "tests/brokers/$broker.sh" down
  done
}
trap stop_brokers EXIT

for broker in "${brokers[@]}"; do
  state=$("tests/brokers/$broker.sh" up)
  [[ $state != *STARTED=yes* ]] || started+=("$broker")
done

# Tests of whole connectors wait most of their time, so more of them run than there are processors.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-6}

[ $# -gt 0 ] || set -- --workspace
mkdir -p var
log=var/test.log
result=0
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || result=$?

# Colours would hide the lines from the count.
totals=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
  /^test result:/ { passed += $4; failed += $6; ignored += $8 }
  END { printf "%d passed, %d failed, %d skipped", passed, failed, ignored }')
echo
echo "$totals"
if [ "$result" -ne 0 ]; then
  echo "tests failed; the whole output is in $log" >&2
  exit "$result"
fi
case $totals in
  "0 passed"*) echo "no test ran; see $log" >&2; exit 1 ;;
esac
