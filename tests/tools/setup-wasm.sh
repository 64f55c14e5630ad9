#!/usr/bin/env bash
# Makes `cargo build --target wasm32-unknown-unknown` work and yield components.
#   usage: setup-wasm.sh ENV-FILE      then:  . ENV-FILE
# 1. An ordinary machine: `rustup target add`.
# 2. Where rustup cannot download: Debian's rustc-web with its library source, std built once into a sysroot of
#    its own under the test cache.
# Either way wasm-component-ld, which ships inside rustup's toolchain, is the linker: its output is a component
# and no further tool is needed. WASMOUNT_WASM_NO_RUSTUP=1 forces the second way.
set -euo pipefail
. "$(dirname "$0")/common.sh"
ENV_FILE=${1:?usage: setup-wasm.sh ENV-FILE}
TARGET=wasm32-unknown-unknown
mkdir -p "$(dirname "$ENV_FILE")"
cd "$REPOSITORY" # rust-toolchain.toml chooses the toolchain

HOST_TRIPLE=$(rustc -vV | sed -n 's/^host: //p')
LINKERS=$(rustc --print sysroot)/lib/rustlib/$HOST_TRIPLE/bin
[ -x "$LINKERS/wasm-component-ld" ] || die "no wasm-component-ld in $LINKERS: is this rustup's toolchain (https://rustup.rs)?"

write_env() { # the lines given on stdin, then what both ways share
  {
    cat
    # wasm-component-ld calls wasm-ld, which is in gcc-ld/.
    printf 'export PATH="%s/gcc-ld:%s:$PATH"\n' "$LINKERS" "$LINKERS"
    printf 'export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="%s/wasm-component-ld"\n' "$LINKERS"
  } >"$ENV_FILE.new"
  mv "$ENV_FILE.new" "$ENV_FILE"
}

if [ -z "${WASMOUNT_WASM_NO_RUSTUP:-}" ]; then
  if grep -qx "$TARGET" <<<"$(rustup target list --installed 2>/dev/null)" || timeout 180 rustup target add "$TARGET"; then
    write_env </dev/null
    exit 0
  fi
  say "rustup cannot install $TARGET; falling back to Debian's rustc-web"
fi

command -v apt-get >/dev/null || die "'rustup target add $TARGET' failed and there is no apt-get for the fallback"
DIR=$WASMOUNT_TEST_CACHE/wasm-toolchain
ROOT=$DIR/root/usr
LIBRARIES=$ROOT/lib/rustlib/$TARGET/lib
if [ ! -e "$LIBRARIES/.done" ]; then
  mkdir -p "$DIR/deb" "$DIR/root" "$DIR/bin" "$DIR/std/src"
  candidate() { apt-cache policy rustc-web | sed -n 's/ *Candidate: //p'; }
  version=$(candidate)
  if [ -z "$version" ] || [ "$version" = "(none)" ]; then as_root apt-get update -q; version=$(candidate); fi
  [ -n "$version" ] && [ "$version" != "(none)" ] || die "neither rustup nor apt (package rustc-web) can provide $TARGET"
  release=$(echo "$version" | cut -d. -f1,2)
  llvm=$(apt-cache show "libstd-rust-web-$release=$version" | grep -oE 'libllvm[0-9]+' | sed -n 1p)
  (
    cd "$DIR/deb"
    apt-get download "rustc-web=$version" "libstd-rust-web-$release=$version" "libstd-rust-web-dev=$version" \
      "rust-web-src=$version" "$llvm"
    for package in *.deb; do dpkg -x "$package" "$DIR/root"; done
    rm -f ./*.deb
  )
  # A wrapper, as its shared libraries are not on the system's path.
  cat >"$DIR/bin/rustc" <<WRAPPER
#!/bin/sh
export LD_LIBRARY_PATH="$ROOT/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "$ROOT/bin/rustc" "\$@"
WRAPPER
  chmod +x "$DIR/bin/rustc"
  # std, once: an empty crate built with -Zbuild-std leaves the libraries in its target directory.
  cd "$DIR/std"
  printf '[package]\nname = "x"\nversion = "0.0.0"\nedition = "2021"\n[lib]\n[workspace]\n[profile.release]\ndebug = 0\n' >Cargo.toml
  echo '#![no_std]' >src/lib.rs
  RUSTC=$DIR/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$DIR/std/target \
    cargo build --release -Zbuild-std=std,panic_abort --target "$TARGET"
  mkdir -p "$LIBRARIES"
  cp "target/$TARGET/release/deps/"*.rlib "$LIBRARIES/"
  rm -f "$LIBRARIES/libx-"*
  touch "$LIBRARIES/.done"
  rm -rf "$DIR/std/target"
fi
# The std built here carries no bitcode, so link-time optimisation must be off.
write_env <<ENV
export RUSTC="$DIR/bin/rustc"
export CARGO_PROFILE_PLUGIN_LTO=off
ENV
