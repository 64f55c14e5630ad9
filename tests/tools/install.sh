#!/usr/bin/env bash
# Installs what this repository's targets need and the machine lacks.
#   usage: install.sh build|image|demo|test|test-ceph20|bench
# WASMOUNT_WITHOUT_CEPH=1 leaves Ceph out, for systems without its packages; its tests then say that they are left out.
# WASMOUNT_WITHOUT_CONTAINERS=1 does the same with containers, for systems that cannot run any.
# Rust and Go are the user's own: they are only checked, before anything is touched.
set -euo pipefail
. "$(dirname "$0")/common.sh"
PURPOSE=${1:-build}

# --- what must be there already -------------------------------------------------------------------------
command -v cargo >/dev/null && command -v rustup >/dev/null ||
  die "no cargo or no rustup on PATH. Get Rust with rustup: https://rustup.rs (the toolchain is chosen by rust-toolchain.toml)"

needs_go() { [ "$PURPOSE" = test ] || [ "$PURPOSE" = bench ]; }
needs_ceph() { [[ $PURPOSE == test* || $PURPOSE == bench ]] && [ "${WASMOUNT_WITHOUT_CEPH:-}" != 1 ]; }
needs_images() { [ "$PURPOSE" = image ] || needs_containers; }
needs_containers() { [ "$PURPOSE" = test ] && [ "${WASMOUNT_WITHOUT_CONTAINERS:-}" != 1 ]; }
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
# fio does the benchmark's random reads, and verifies images while a cluster fails; rclone and s3fs are the peers that Debian has.
# A Ceph cluster is a monitor, a manager, OSDs and MDSs, and ceph-fuse is its other client; images are looked at with e2fsprogs,
# ss cuts connections, and ip (iproute2, too) makes a network that can be taken away.
declare -A package_of=([cc]=build-essential [setpriv]=util-linux [mount]=mount [python3]=python3 [fio]=fio [rclone]=rclone [s3fs]=s3fs
  [ceph-mon]=ceph-mon [ceph-mgr]=ceph-mgr [ceph-osd]=ceph-osd [ceph-mds]=ceph-mds [rbd]=ceph-common [rbd-fuse]=rbd-fuse
  [ceph-fuse]=ceph-fuse
  [mke2fs]=e2fsprogs [debugfs]=e2fsprogs [ss]=iproute2 [debootstrap]=debootstrap
  [docker-registry]=docker-registry [openssl]=openssl
  [buildah]=buildah [podman]=podman [runc]=runc [conmon]=conmon [netavark]=netavark)
missing=()
tools=(cc setpriv mount)
if [ "$PURPOSE" = bench ]; then tools+=(python3 fio rclone s3fs); fi
if [[ $PURPOSE == test* ]]; then tools+=(python3); fi
# Plugins are pulled from a registry, and signed.
if [ "$PURPOSE" = test ]; then tools+=(docker-registry openssl); fi
if needs_ceph; then
  if [ "$PURPOSE" = test-ceph20 ]; then tools+=(debootstrap); else tools+=(ceph-mon ceph-mgr ceph-osd ceph-mds ceph-fuse rbd); fi
  if [ "$PURPOSE" = bench ]; then tools+=(rbd-fuse); else tools+=(mke2fs debugfs ss fio); fi
fi
# Images are built by buildah on what debootstrap makes, their bill of materials is a Python script, and podman runs them.
if needs_images; then tools+=(buildah runc debootstrap python3); fi
if needs_containers; then tools+=(podman conmon); fi
# Not on PATH, but podman wants it.
if needs_containers && [ ! -e /usr/lib/podman/netavark ]; then missing+=(netavark); fi
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package_of[$tool]}")
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)

# Several programs may be of one package.
if [ "${#missing[@]}" -gt 0 ]; then mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u); fi

say "This will install or build, where missing:"
say "  - Debian packages: ${missing[*]:-none missing}"
say "  - the Rust target wasm32-unknown-unknown (rustup; else Debian's rustc-web into $WASMOUNT_TEST_CACHE)"
if needs_go; then
  if [ -x "$MINIO_BIN" ]; then say "  - MinIO $MINIO_VERSION: there already"
  else say "  - MinIO $MINIO_VERSION with 'go install' into $WASMOUNT_TEST_CACHE (2 to 20 minutes, once)"; fi
fi
if needs_ceph && [ "$PURPOSE" = test-ceph20 ]; then
  say "  - Ceph 20 in a Debian of its own in $WASMOUNT_TEST_CACHE (900 MB, a few minutes, once)"
fi
say "  - crates, as Cargo.lock names them; build output goes to ${CARGO_TARGET_DIR:-$REPOSITORY/target}"
say ""

if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || die "please install with your package manager: ${missing[*]} (WASMOUNT_WITHOUT_CEPH=1 leaves out what Ceph needs, WASMOUNT_WITHOUT_CONTAINERS=1 what containers need)"
  as_root apt-get update -q
  for package in "${missing[@]}"; do
    # The answer first, then the look: a `grep -q` that has seen enough would end apt-cache by SIGPIPE, which pipefail takes for a no.
    if [[ $package == ceph-* ]] && ! grep -q 'Candidate: [0-9]' <<<"$(apt-cache policy "$package")"; then
      die "this system has no package $package: install Ceph 16 or newer by other means, or leave its tests out with WASMOUNT_WITHOUT_CEPH=1"
    fi
  done
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

# --- Ceph 20 -------------------------------------------------------------------------------------------------
if [ "$PURPOSE" = test-ceph20 ] && needs_ceph; then "$REPOSITORY/tests/servers/ceph-chroot" make; fi

# --- FUSE ----------------------------------------------------------------------------------------------------
if [ "$PURPOSE" != build ] && [ "$PURPOSE" != image ]; then
  [ -c /dev/fuse ] || die "no /dev/fuse: load the kernel module ('modprobe fuse'), or in a container add --device /dev/fuse --cap-add SYS_ADMIN"
  [ "$(id -u)" = 0 ] || die "mounting needs root (CAP_SYS_ADMIN): run 'sudo -E env PATH=\"\$PATH\" make $PURPOSE'"
fi
