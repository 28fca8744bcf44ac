#!/usr/bin/env bash
# Fuzzes what reads bytes of strangers: each target for ten minutes, or for the seconds that are given.
#
#     fuzz/run.sh [SECONDS] [TARGET…]
#
# Needs a nightly toolchain, a C++ compiler and cargo-fuzz (`cargo install cargo-fuzz`). What is found
# interesting is kept in `corpus` and taken up by the next run, which begins with `seeds`; what fails lies
# in `artifacts`. Exits 1 if anything fails.
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
  mkdir -p "corpus/$target"
  # Every input of `connection` is a conversation over sockets, and a timeout of its own ends each.
  cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
    -max_total_time="$seconds" -max_len=65536 -timeout=60 -rss_limit_mb=2048 || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
