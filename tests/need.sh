#!/usr/bin/env bash
# Sees to it that commands are there before somebody trips over their absence.
#
#   tests/need.sh COMMAND=DEBIAN-PACKAGE...
#
# What is missing is installed where that needs no question (root on a Debian machine); elsewhere one message names
# everything that is missing and the line that installs it.
set -euo pipefail

missing=()
packages=()
for pair in "$@"; do
  if ! command -v "${pair%%=*}" >/dev/null; then
    missing+=("${pair%%=*}")
    packages+=("${pair#*=}")
  fi
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}; install them first, on Debian by: sudo apt-get install ${packages[*]}" >&2
  exit 1
fi
echo "installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${packages[@]}"; } >/dev/null; then
  echo "could not install ${packages[*]}; try: apt-get update && apt-get install ${packages[*]}" >&2
  exit 1
fi
for command in "${missing[@]}"; do
  command -v "$command" >/dev/null || { echo "$command is still missing after installing ${packages[*]}" >&2; exit 1; }
done
