#!/usr/bin/env bash
# Fuzzes what reads bytes of strangers: each target for ten minutes, or for the seconds that are given.
#
#     fuzz/run.sh [SECONDS] [TARGET…]
#
# Needs a nightly toolchain, a C++ compiler and cargo-fuzz (`cargo install cargo-fuzz`). A run begins with
# `seeds` and with what earlier ones found interesting: that lies in `corpus`, and packed in `kept`, which
# is to be committed. What fails lies in `artifacts`. Exits 1 if anything fails.
#
# No sanitizer: what is fuzzed has no unsafe code, and comes ten times as far without one.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(request_head answer_head chunks connection)
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "cargo-fuzz or the nightly toolchain is missing: rustup toolchain install nightly && cargo install cargo-fuzz" >&2
  exit 2
fi
failed=()
for target in "${targets[@]}"; do
  printf '\n== %s, %s s\n' "$target" "$seconds"
  if [ ! -d "corpus/$target" ]; then
    mkdir -p "corpus/$target"
    [ ! -f "kept/$target.tar.gz" ] || tar -xzf "kept/$target.tar.gz" -C corpus
  fi
  # Every input of `connection` is a conversation over sockets, and a timeout of its own ends each.
  if cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
    -max_total_time="$seconds" -max_len=65536 -timeout=60 -rss_limit_mb=2048; then
    # Of those that find the same, the shortest.
    cargo +nightly fuzz cmin --fuzz-dir . --sanitizer none "$target" "corpus/$target"
    mkdir -p kept
    tar -czf "kept/$target.tar.gz" -C corpus "$target"
  else
    failed+=("$target")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
