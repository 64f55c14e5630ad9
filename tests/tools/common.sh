# Shared by the scripts of this folder; sourced, not run.
# shellcheck shell=bash

# Everything that is downloaded or built for the tests lives here, outside the repository, and is kept between runs.
WASMOUNT_TEST_CACHE=${WASMOUNT_TEST_CACHE:-$HOME/.cache/wasmount-tests}
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# The last community release of MinIO that `go install` can build.
MINIO_MODULE=github.com/minio/minio
MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
MINIO_BIN=$WASMOUNT_TEST_CACHE/bin/minio-$MINIO_VERSION

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND...: directly when we are root, else through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "'$*' needs root: run as root or install sudo"
  fi
}

# in_namespace ROOT COMMAND…: a command of another system in the directory ROOT, with what it needs of this one. Mounts are in a
# namespace of its own, so nothing stays mounted, whatever ends first. CEPH_BIND names a directory to be found at the same path.
in_namespace() {
  exec unshare --mount --propagation private -- bash -euc '
    root=$1 bind=$2; shift 2
    for each in /proc /dev /sys; do mount --rbind "$each" "$root$each"; done
    if [ -n "$bind" ]; then mkdir -p "$root$bind"; mount --bind "$bind" "$root$bind"; fi
    exec chroot "$root" "$@"' in_namespace "$1" "${CEPH_BIND:-}" "${@:2}"
}

# apt_settings: this machine's proxies, and whether an outdated mirror will do.
apt_settings() {
  apt-config dump 2>/dev/null | grep '^Acquire::[a-z]*::Proxy' || true
  if [ -n "${WASMOUNT_STALE_MIRROR:-}" ]; then echo 'Acquire::Check-Valid-Until "false";'; fi
}
