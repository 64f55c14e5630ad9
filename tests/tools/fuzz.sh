#!/usr/bin/env bash
# Fuzzes everything in plugins/ceph that reads what a network or a person sent, guided by coverage.
#   usage: fuzz.sh SECONDS [TARGET…]     SECONDS in all, shared by the targets; all of them by default
# What libFuzzer finds lies in target/fuzz/found/TARGET-crash-… : copy it to plugins/ceph/fuzz/corpus/TARGET/, where every
# `make test` runs it. The corpora of earlier runs are kept in target/fuzz/corpus and gone on with.
# The instrumentation is a pass of LLVM that every rustc has: neither nightly nor cargo-fuzz is needed.
set -euo pipefail
. "$(dirname "$0")/common.sh"
SECONDS_IN_ALL=${1:?usage: fuzz.sh SECONDS [TARGET…]}
shift
cd "$REPOSITORY"
TARGET_DIR=${CARGO_TARGET_DIR:-$REPOSITORY/target}/fuzz
command -v c++ >/dev/null || die "libFuzzer needs a C++ compiler: install build-essential"

cargo build --release -p wasmount-ceph-fuzz --bin ceph-fuzz-seeds --target-dir "$TARGET_DIR"
SEEDS=$TARGET_DIR/release/ceph-fuzz-seeds
# --target, so that build scripts and macros are not instrumented too.
HOST_TRIPLE=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1"
cargo build --release -p wasmount-ceph-fuzz --bin ceph-fuzz --features libfuzzer --target "$HOST_TRIPLE" --target-dir "$TARGET_DIR"
FUZZER=$TARGET_DIR/$HOST_TRIPLE/release/ceph-fuzz

"$SEEDS" "$TARGET_DIR/corpus"
if [ $# = 0 ]; then mapfile -t targets < <("$SEEDS"); else targets=("$@"); fi
mkdir -p "$TARGET_DIR/found"
each=$((SECONDS_IN_ALL / ${#targets[@]}))
[ "$each" -gt 0 ] || each=1
failed=()
for target in "${targets[@]}"; do
  say "fuzzing $target for $each s"
  mkdir -p "$TARGET_DIR/corpus/$target" "$REPOSITORY/plugins/ceph/fuzz/corpus/$target"
  # A map of a real cluster has some 100 KiB. 20 s are a hang: what takes longest is a CRUSH map that asks for all the work that a mapping may
  # cost, which is 2 s for the twelve mappings of an input.
  if ! CEPH_FUZZ_TARGET=$target "$FUZZER" "$TARGET_DIR/corpus/$target" "$REPOSITORY/plugins/ceph/fuzz/corpus/$target" \
    -max_total_time="$each" -max_len=65536 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$TARGET_DIR/found/$target-" >"$TARGET_DIR/$target.log" 2>&1; then
    tail -n 30 "$TARGET_DIR/$target.log"
    failed+=("$target")
  fi
  grep -E 'number_of_executed_units|new_units_added|peak_rss' "$TARGET_DIR/$target.log" | sed "s/^stat::/  /" || true
done
rmdir --ignore-fail-on-non-empty "$REPOSITORY"/plugins/ceph/fuzz/corpus/*/
[ "${#failed[@]}" = 0 ] || die "failed: ${failed[*]} (logs: $TARGET_DIR/*.log, inputs: $TARGET_DIR/found)"
