#!/usr/bin/env bash
# Compares pmctl with other reverse proxies on this machine; README.md beside this file says how.
set -euo pipefail
if ! command -v python3 >/dev/null; then
  echo "python3 is not installed: install Python 3.11 or later and run this again" >&2
  exit 2
fi
cd "$(dirname "$0")"
PYTHONDONTWRITEBYTECODE=1 exec python3 -m pmbench "$@"
