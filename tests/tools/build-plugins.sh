#!/usr/bin/env bash
# Builds the components of this repository and leaves them in target/plugins/.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$REPOSITORY"
TARGET_DIR=${CARGO_TARGET_DIR:-$REPOSITORY/target}
./tests/tools/setup-wasm.sh "$TARGET_DIR/wasm.env"
. "$TARGET_DIR/wasm.env"

# A target directory of their own: guests may be built by another rustc than the host (see setup-wasm.sh).
cargo build --profile plugin --target wasm32-unknown-unknown --target-dir "$TARGET_DIR/guest" \
  -p wasmount-plugin-s3 -p wasmount-plugin-rbd -p wasmount-plugin-cephfs -p wasmount-example-static-site -p wasmount-example-pattern-disk \
  -p wasmount-example-memory-tree -p wasmount-hostile-guest -p wasmount-hostile-tree

mkdir -p "$TARGET_DIR/plugins"
for name in s3 rbd cephfs static_site pattern_disk memory_tree hostile hostile_tree; do
  built=$TARGET_DIR/guest/wasm32-unknown-unknown/plugin/$name.wasm
  [ -e "$built" ] || die "the build left no $built"
  # Replaced by rename: a host that is running keeps the file it has opened.
  cp "$built" "$TARGET_DIR/plugins/.$name.new" && mv "$TARGET_DIR/plugins/.$name.new" "$TARGET_DIR/plugins/$name.wasm"
  printf '%-12s %8d bytes  %s\n' "$name" "$(stat -c %s "$TARGET_DIR/plugins/$name.wasm")" "$TARGET_DIR/plugins/$name.wasm"
done
