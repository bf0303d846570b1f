#!/usr/bin/env bash
# Looks for inputs that break a reader of what comes from outside.
# Arguments: for how many seconds each target is tried; the targets (without any, all of them).
# What reaches something new stays in var/fuzz; what breaks something is named at the end. Keep it as a file in
# tests/fuzz/corpus, where `make test` tries it for ever.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=$1
targets=("${@:2}")
if [ ${#targets[@]} -eq 0 ]; then
  for corpus in tests/fuzz/corpus/*/; do targets+=("$(basename "$corpus")"); done
fi

# Cargo keeps what goes through a wrapper apart from what does not. The fuzzer itself is C++, compiled here alone.
tests/need.sh c++=build-essential
RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/instrument.sh cargo build --locked --quiet -p fuzz --features guided
program=${CARGO_TARGET_DIR:-target}/debug/fuzz

broken=()
for target in "${targets[@]}"; do
  found=var/fuzz/$target
  mkdir -p "$found" var/fuzz/broken
  # Ten seconds for a kilobyte: whatever takes that long grows faster than its input.
  FUZZ_TARGET=$target "$program" "$found" "tests/fuzz/corpus/$target" -max_total_time="$seconds" -max_len=1024 \
    -timeout=10 -rss_limit_mb=1024 -artifact_prefix="var/fuzz/broken/$target-" -print_final_stats=1 -verbosity=0 \
    >"var/fuzz/$target.log" 2>&1 || broken+=("$target")
  awk -v target="$target" '
    /stat::number_of_executed_units/ { units = $2 }
    /stat::average_exec_per_sec/ { pace = $2 }
    END { printf "%-16s %10d inputs, %6d a second\n", target, units, pace }' "var/fuzz/$target.log"
done

for target in ${broken[@]+"${broken[@]}"}; do
  echo "$target is broken: see var/fuzz/$target.log" >&2
done
[ ${#broken[@]} -eq 0 ]
