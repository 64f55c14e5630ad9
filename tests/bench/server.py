"""The MinIO of one run: its data set, and what it says of the requests it saw."""
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request

REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# What developers set, and users do not: wasmtime draws one at each resumption of a plugin then, a tenth of all that a small file costs.
BACKTRACES = "RUST_BACKTRACE"
# Links to the large object: enough for the reads scattered over 100 objects and for the 64 streams.
LINKS = 100


class Server:
    """A MinIO with its data in memory (BENCH_DIR, default /dev/shm), so that no disk is measured on its side."""

    def __init__(self, floor):
        base = os.environ.get("BENCH_DIR") or ("/dev/shm" if shutil.disk_usage("/dev/shm").free > 4 << 30 else None)
        self.directory = tempfile.mkdtemp(prefix="wasmount-bench-", dir=base)
        self.script = os.path.join(REPOSITORY, "tests/servers/minio")
        try:
            # Metrics without a token: the counts of requests and bytes are read there.
            lines = subprocess.run([self.script, "start", self.directory], check=True, stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "MINIO_PROMETHEUS_AUTH_TYPE": "public"}).stdout
            self.variables = dict(line[len("export "):].split("=", 1) for line in lines.splitlines())
            self.url = self.variables["MINIO_ENDPOINT"]
            self.pid = int(self.variables["MINIO_PID"])
            self.env = self._environment()
            subprocess.run([floor, "seed"], check=True, env=self.env)
            self._link()
        except BaseException:
            self.stop()
            raise

    def _environment(self):
        """That of every client: credentials in each one's dialect, no proxy."""
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k not in ("AWS_CA_BUNDLE", BACKTRACES)}
        key, secret = self.variables["MINIO_ACCESS_KEY"], self.variables["MINIO_SECRET_KEY"]
        env.update(self.variables, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWSACCESSKEYID=key,
                   AWSSECRETACCESSKEY=secret, AWS_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
                   RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Minio",
                   RCLONE_CONFIG_BENCH_ENV_AUTH="true", RCLONE_CONFIG_BENCH_ENDPOINT=self.url)
        return env

    def _link(self):
        """100 objects of 1 GiB in the space of one: MinIO keeps an object as a directory of files that do not know
        their name, and hard links to them are further objects."""
        bucket = os.path.join(self.directory, "data/bench")
        for index in range(LINKS):
            shutil.copytree(f"{bucket}/large/1g.bin", f"{bucket}/many/{index:03}.bin", copy_function=os.link)

    def counts(self):
        """GetObject requests and bytes sent since the start, as the server counts them (without delay)."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/minio/metrics/v3/api/requests", timeout=10) as answer:
            text = answer.read().decode()
        gets = re.search(r'^minio_api_requests_total\{name="GetObject",[^}]*\} (\S+)$', text, re.M)
        sent = re.search(r'^minio_api_requests_traffic_sent_bytes\{[^}]*\} (\S+)$', text, re.M)
        return int(float(gets[1])) if gets else 0, int(float(sent[1])) if sent else 0

    def stop(self):
        subprocess.run([self.script, "stop", self.directory], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)
