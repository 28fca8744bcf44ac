#!/usr/bin/env bash
# Measures `pmctl ports status` against lsof; see README.md beside this file.
set -euo pipefail

if [ $# -ne 1 ] || [ ! -x "$1" ]; then
  echo "usage: $0 PMCTL (the program to be measured, built for release)" >&2
  exit 2
fi
for needed in python3 lsof; do
  if ! command -v "$needed" >/dev/null; then
    echo "$needed is not installed: install it and run this again" >&2
    exit 2
  fi
done
ulimit -n "$(ulimit -Hn)"
exec python3 "$(dirname "$0")/measure.py" "$(realpath "$1")"
