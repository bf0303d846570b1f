#!/usr/bin/env bash
# Negative controls: builds the connectors with a known bug of another one in them, one after the other, and has the model
# find it. Arguments: the controls; without any, all of them. The bugs are patches of a few lines in controls/, whose heads
# say what the bug is, which rule it breaks, and which tests see it.
#
# It fails unless every bug is found, by the rule that it breaks. Prints a table for docs/reliability.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

controls=$PWD/tests/model/controls
tree=$PWD/var/controls/tree
# Not the target folder of the sources themselves: cargo would take what was built with a bug in it for theirs.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/var/controls/target}
# Most bugs are found within a hundred runs, and the rare ones here.
export MODEL_RUNS=${MODEL_RUNS:-10000}
# The copy lies in a repository, and is none.
export GIT_CEILING_DIRECTORIES=${tree%/*}

if [ $# -eq 0 ]; then
  for patch in "$controls"/*.patch; do set -- "$@" "$(basename "$patch" .patch)"; done
fi

rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$tree"
cd "$tree"

head_of() { sed -n "s/^$2: //p" "$controls/$1.patch"; }

missed=()
printf '| bug | what breaks | found by |\n|---|---|---|\n'
for control in "$@"; do
  git apply "$controls/$control.patch"
  read -r package test <<<"$(head_of "$control" "Seen by")"
  case $package in
    model) tests=(--test leased -- --exact "$test") ;;
    *) tests=(--lib -- --exact "model::$test") ;;
  esac
  log=$tree/../$control.log
  found=
  if ! cargo test --locked -p "$package" "${tests[@]}" >"$log" 2>&1; then
    # The rule, and on the lines behind it the choices that lead there.
    found=$(sed -n "/^BROKEN: $(head_of "$control" Breaks)\$/,+2 s/.*MODEL_REPLAY=//p" "$log" | head -n 1)
  fi
  git apply -R "$controls/$control.patch"
  [ -n "$found" ] || missed+=("$control")
  printf '| %s | %s | %s |\n' "$(head_of "$control" Bug)" "$(head_of "$control" Breaks)" "${found:-NOTHING: see $log}"
done

if [ ${#missed[@]} -gt 0 ]; then
  echo "not found: ${missed[*]}" >&2
  exit 1
fi
echo "$# bugs, all found" >&2
