#!/usr/bin/env bash
# `make demo`, after the build: an embedded S3 server, a bucket, a config.json as Fluid writes it, a mount.
# Whatever happens, it leaves no process, no mount and no file behind.
set -euo pipefail
. "$(dirname "$0")/../tools/common.sh"
TARGET_DIR=${CARGO_TARGET_DIR:-$REPOSITORY/target}
WASMOUNT=${WASMOUNT_BIN:-$TARGET_DIR/release/wasmount}
SERVER_BIN=$TARGET_DIR/release/demo-server
PLUGIN=$TARGET_DIR/plugins/s3.wasm
for file in "$WASMOUNT" "$SERVER_BIN" "$PLUGIN"; do [ -e "$file" ] || die "$file is missing: run 'make demo'"; done

DIR=$(mktemp -d "${TMPDIR:-/tmp}/wasmount-demo-XXXXXX")
MOUNT=$DIR/runtime-mnt/thin/default/minio-demo/thin-fuse
WASMOUNT_PID="" SERVER_PID=""

# end PID: SIGTERM, at most ten seconds of patience, SIGKILL.
end() {
  [ -n "$1" ] && kill "$1" 2>/dev/null || return 0
  for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
mounted() { grep -qF " $MOUNT " /proc/self/mountinfo; }
clean_up() {
  status=$?
  trap - EXIT INT TERM
  end "$WASMOUNT_PID"
  end "$SERVER_PID"
  if mounted; then umount -l "$MOUNT" || true; fi
  if [ "$status" != 0 ] && [ -s "$DIR/wasmount.log" ]; then
    say "--- the log of wasmount:" >&2; cat "$DIR/wasmount.log" >&2
  fi
  mounted || rm -rf --one-file-system "$DIR"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "== an embedded S3 server with the bucket my-first-bucket"
mkdir -p "$DIR/buckets"
# As a coprocess it ends with this script at the latest: it watches its standard input.
coproc SERVER { exec "$SERVER_BIN" "$DIR/buckets" 2>"$DIR/server.log"; }
# shellcheck disable=SC2153
read -r -t 30 ENDPOINT <&"${SERVER[0]}" || { cat "$DIR/server.log" >&2; die "the embedded S3 server did not start"; }
say "$ENDPOINT"

say "== what Fluid would put into the container: /etc/fluid/config/config.json and a secret"
mkdir -p "$DIR/config" "$DIR/secrets/minio-secret"
printf minioadmin >"$DIR/secrets/minio-secret/minio-access-key"
printf minioadmin >"$DIR/secrets/minio-secret/minio-access-secret"
cat >"$DIR/config/config.json" <<CONFIG
{"mounts":[{"mountPoint":"minio://my-first-bucket","options":{"minio-access-key":"/etc/fluid/secrets/minio-secret/minio-access-key","minio-access-secret":"/etc/fluid/secrets/minio-secret/minio-access-secret","minio-url":"$ENDPOINT"},"name":"minio"}],"targetPath":"$MOUNT","accessModes":["ReadOnlyMany"]}
CONFIG
cat "$DIR/config/config.json"

say "== wasmount run"
# The embedded server is on loopback, which no config.json may reach unless the operator allows it.
command=("$WASMOUNT" run --config "$DIR/config/config.json" --secrets-dir "$DIR/secrets" --plugin "$PLUGIN"
  --allow-net 127.0.0.1 --cache-dir "$DIR/cache" --state-dir "$DIR/state")
say "${command[*]}"
"${command[@]}" >"$DIR/wasmount.log" 2>&1 &
WASMOUNT_PID=$!
for _ in $(seq 300); do
  mounted && break
  kill -0 "$WASMOUNT_PID" 2>/dev/null || die "wasmount ended before it had mounted"
  sleep 0.1
done
mounted || die "wasmount has not mounted within 30 seconds"
grep -F " $MOUNT " /proc/self/mountinfo

say "== ls -lR $MOUNT"
timeout 30 ls -lR "$MOUNT"
say "== cat testfile"
content=$(timeout 30 cat "$MOUNT/testfile")
say "$content"
[ "$content" = fluid-minio-test ] || die "testfile reads '$content' through the mount, not 'fluid-minio-test'"

say "== SIGTERM, as the kubelet sends it"
kill "$WASMOUNT_PID"
status=0
wait "$WASMOUNT_PID" || status=$?
WASMOUNT_PID=""
[ "$status" = 0 ] || die "wasmount ended with status $status"
if mounted; then die "wasmount has left its mount behind"; fi
say "unmounted, exit status 0; nothing is left behind"
