#!/usr/bin/env bash
# Installs what this repository's targets need and the machine lacks.
#   usage: install.sh build|demo|test|bench
# Rust and Go are the user's own: they are only checked, before anything is touched.
set -euo pipefail
. "$(dirname "$0")/common.sh"
PURPOSE=${1:-build}

# --- what must be there already -------------------------------------------------------------------------
command -v cargo >/dev/null && command -v rustup >/dev/null ||
  die "no cargo or no rustup on PATH. Get Rust with rustup: https://rustup.rs (the toolchain is chosen by rust-toolchain.toml)"

needs_go() { [ "$PURPOSE" = test ] || [ "$PURPOSE" = bench ]; }
if needs_go && [ ! -x "$MINIO_BIN" ]; then
  command -v go >/dev/null ||
    die "no go on PATH; MinIO for the tests is built with Go 1.24 or newer: https://go.dev/dl/ (Debian 12's golang-go is too old)"
  version=$(go env GOVERSION); version=${version#go}
  major=${version%%.*}; minor=${version#*.}; minor=${minor%%[!0-9]*}
  [ "$major" -gt 1 ] || [ "$minor" -ge 24 ] ||
    die "go $version is too old; MinIO for the tests is built with Go 1.24 or newer: https://go.dev/dl/"
fi

# --- what is missing -----------------------------------------------------------------------------------------
# gcc and libc headers: linking Rust, and the assembler files of ring. ca-certificates: downloads.
# fio does the benchmark's random reads; rclone and s3fs are the peers that Debian has.
declare -A package_of=([cc]=build-essential [setpriv]=util-linux [mount]=mount [python3]=python3 [fio]=fio [rclone]=rclone [s3fs]=s3fs)
missing=()
tools=(cc setpriv mount)
if [ "$PURPOSE" = bench ]; then tools+=(python3 fio rclone s3fs); fi
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package_of[$tool]}")
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)

say "This will install or build, where missing:"
say "  - Debian packages: ${missing[*]:-none missing}"
say "  - the Rust target wasm32-unknown-unknown (rustup; else Debian's rustc-web into $WASMOUNT_TEST_CACHE)"
if needs_go; then
  if [ -x "$MINIO_BIN" ]; then say "  - MinIO $MINIO_VERSION: there already"
  else say "  - MinIO $MINIO_VERSION with 'go install' into $WASMOUNT_TEST_CACHE (2 to 20 minutes, once)"; fi
fi
say "  - crates, as Cargo.lock names them; build output goes to ${CARGO_TARGET_DIR:-$REPOSITORY/target}"
say ""

if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || die "please install with your package manager: ${missing[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

# --- MinIO ---------------------------------------------------------------------------------------------------
if needs_go && [ ! -x "$MINIO_BIN" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  say "building MinIO (log: $WASMOUNT_TEST_CACHE/minio-build.log)"
  mkdir -p "$WASMOUNT_TEST_CACHE/bin"
  GOBIN=$work go install "$MINIO_MODULE@$MINIO_VERSION" >"$WASMOUNT_TEST_CACHE/minio-build.log" 2>&1 ||
    { tail -n 20 "$WASMOUNT_TEST_CACHE/minio-build.log" >&2; die "go install $MINIO_MODULE@$MINIO_VERSION failed"; }
  # Moved in one step, so that an interrupted build leaves nothing that looks complete.
  mv "$work/minio" "$MINIO_BIN.new" && mv "$MINIO_BIN.new" "$MINIO_BIN"
fi

# --- FUSE ----------------------------------------------------------------------------------------------------
if [ "$PURPOSE" != build ]; then
  [ -c /dev/fuse ] || die "no /dev/fuse: load the kernel module ('modprobe fuse'), or in a container add --device /dev/fuse --cap-add SYS_ADMIN"
  [ "$(id -u)" = 0 ] || die "mounting needs root (CAP_SYS_ADMIN): run 'sudo -E env PATH=\"\$PATH\" make $PURPOSE'"
fi
