//! A real OCI registry on 127.0.0.1: Debian's `docker-registry`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use ureq::http::Request;

use crate::bounded::wait_for;
use crate::minio::Minio;
use crate::port::Port;
use crate::process::Process;
use crate::tls::PrivateCa;

/// How long the registry may take to answer its first request, on a machine that is busy building.
const START: Duration = Duration::from_secs(30);
/// The user that a registry with passwords knows.
pub const USER: &str = "puller";
/// Their password.
pub const PASSWORD: &str = "correct horse";
/// Both, as `htpasswd -B` writes them: bcrypt, which is all that the registry takes.
const HTPASSWD: &str = "puller:$2y$05$csBQU.3ZV9B7uXJQMcvUvOhYBRT/SOTuRjmIYVZcnsQGTofCpr0D6\n";

/// How a registry is set up.
#[derive(Debug, Default)]
pub struct Setup {
    /// With a certificate of a private authority.
    pub tls: bool,
    /// Ask everybody for [`USER`] and [`PASSWORD`].
    pub password: bool,
    /// Ask everybody for a token of this service (its URL), signed by this certificate's key (PEM).
    pub token: Option<(String, String)>,
    /// Keep blobs in a bucket `registry` of this server, and send readers there.
    pub blobs: Option<BlobsAt>,
}

/// A bucket for blobs.
#[derive(Debug)]
pub struct BlobsAt {
    /// The server's URL.
    pub endpoint: String,
}

impl BlobsAt {
    /// A new bucket in this MinIO.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn minio(minio: &Minio) -> Result<Self> {
        minio.client()?.make_bucket("registry")?;
        Ok(Self { endpoint: minio.endpoint() })
    }
}

/// A running registry with a directory of its own.
#[derive(Debug)]
pub struct Registry {
    process: Option<Process>,
    // After the process: its data must outlive it.
    dir: TempDir,
    port: Port,
    ca: Option<PrivateCa>,
    agent: ureq::Agent,
    authorization: Option<String>,
}

impl Registry {
    /// Starts one that speaks plain HTTP with everybody.
    ///
    /// # Errors
    /// When it is not installed (`make test` does that) or does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(Setup::default())
    }

    /// Starts one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(setup: Setup) -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("wasmount-registry-").tempdir().context("make a directory")?;
        let ca = if setup.tls { Some(PrivateCa::new()?) } else { None };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .new_agent();
        let authorization = setup.password.then(|| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            format!("Basic {text}")
        });
        let mut registry = Self { process: None, dir, port: Port::free()?, ca, agent, authorization };
        registry.configure(&setup)?;
        registry.resume()?;
        Ok(registry)
    }

    fn configure(&self, setup: &Setup) -> Result<()> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut http = json!({"addr": format!("127.0.0.1:{}", self.port), "secret": "of no use to anybody"});
        if let Some(ca) = &self.ca {
            let leaf = ca.server_certificate()?;
            std::fs::write(path("tls.crt"), leaf.certificate)?;
            std::fs::write(path("tls.key"), leaf.key)?;
            http["tls"] = json!({"certificate": path("tls.crt"), "key": path("tls.key")});
        }
        let storage = match &setup.blobs {
            None => json!({"filesystem": {"rootdirectory": path("data")}}),
            Some(at) => {
                json!({"s3": {"regionendpoint": at.endpoint, "region": "us-east-1", "bucket": "registry",
                "accesskey": "minioadmin", "secretkey": "minioadmin", "secure": false, "v4auth": true}})
            }
        };
        // No cache of descriptors: a test that damages a file wants the registry to read it.
        let mut config = json!({"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": http});
        if setup.password {
            std::fs::write(path("htpasswd"), HTPASSWD)?;
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": path("htpasswd")}});
        }
        if let Some((realm, certificate)) = &setup.token {
            std::fs::write(path("token.crt"), certificate)?;
            config["auth"] = json!({"token": {"realm": realm, "service": "registry.test", "issuer": "issuer.test",
                "rootcertbundle": path("token.crt")}});
        }
        // YAML, of which JSON is a part.
        std::fs::write(self.dir.path().join("config.yml"), config.to_string()).context("write config.yml")
    }

    /// Starts it again, on the same port and data, after [`Self::stop`].
    ///
    /// # Errors
    /// When it does not come up; the message carries its log.
    pub fn resume(&mut self) -> Result<()> {
        let config = self.dir.path().join("config.yml");
        let mut process = Process::start(&program()?, |command| {
            command.arg("serve").arg(&config);
            // Neither a proxy of the machine nor its settings for AWS have anything to do with a bucket on 127.0.0.1.
            for (name, _) in std::env::vars_os() {
                let text = name.to_string_lossy().to_uppercase();
                if text.starts_with("AWS_") || text.ends_with("_PROXY") || text.starts_with("REGISTRY_") {
                    command.env_remove(name);
                }
            }
        })?;
        let port = self.port.number();
        let ended = wait_for("the registry answers", START, || {
            if let Some(status) = process.ended() {
                return Some(Some(status));
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(None)
        });
        match ended {
            Ok(None) => self.process = Some(process),
            Ok(Some(status)) => bail!("the registry ended with {status}:\n{}", process.log.text()),
            Err(error) => return Err(error.context(process.log.text())),
        }
        Ok(())
    }

    /// Stops it; its data and its port stay.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Does something while it is frozen: it accepts connections and answers nothing.
    pub fn paused<T>(&self, work: impl FnOnce() -> T) -> T {
        let signal = |signal| self.process.iter().for_each(|process| process.signal(signal));
        signal(Signal::STOP);
        let outcome = work();
        signal(Signal::CONT);
        outcome
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `oci://127.0.0.1:PORT/REST`
    pub fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.host())
    }

    /// The authority of a registry with TLS, in a file.
    ///
    /// # Errors
    /// When it has none.
    pub fn ca_file(&self) -> Result<PathBuf> {
        let file = self.dir.path().join("ca.crt");
        std::fs::write(&file, self.ca.as_ref().context("a registry without TLS")?.pem())?;
        Ok(file)
    }

    /// A `.dockerconfigjson` for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn auth_file(&self, user: &str, password: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(format!("auth-{user}-{}.json", password.len()));
        let auths = json!({"auths": {self.host(): {"username": user, "password": password}}});
        std::fs::write(&file, auths.to_string())?;
        Ok(file)
    }

    /// A `.dockerconfigjson` with an identity token for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn identity_file(&self, token: &str) -> Result<PathBuf> {
        let file = self.dir.path().join("identity.json");
        std::fs::write(&file, json!({"auths": {self.host(): {"identitytoken": token}}}).to_string())?;
        Ok(file)
    }

    /// Where it keeps a blob (layout of `registry/storage/paths.go` of the distribution project).
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let shard = hex.get(..2).unwrap_or_default();
        self.dir.path().join(format!("data/docker/registry/v2/blobs/sha256/{shard}/{hex}/data"))
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.process.as_ref().map(|process| process.log.text()).unwrap_or_default()
    }

    /// Stores a blob; returns its descriptor.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = sha256(bytes);
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"")?;
        let location = begun.headers().get("location").context("a location")?.to_str()?.to_owned();
        let path = location.split_once(&self.host()).map_or(location.as_str(), |(_, path)| path);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={digest}");
        let done = self.send("PUT", &path, "application/octet-stream", bytes)?;
        anyhow::ensure!(done.status() == 201, "the blob is answered with {}", done.status());
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    /// Stores a manifest or index under a tag; returns its digest.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub fn put_manifest(&self, repository: &str, tag: &str, manifest: &Value) -> Result<String> {
        let media_type = manifest["mediaType"].as_str().context("a mediaType")?;
        let bytes = manifest.to_string().into_bytes();
        let done = self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), media_type, &bytes)?;
        anyhow::ensure!(done.status() == 201, "the manifest is answered with {}", done.status());
        Ok(sha256(&bytes))
    }

    /// Stores an image or artifact of these layers; returns its digest.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub fn put_image(&self, repository: &str, tag: &str, layers: &[Value]) -> Result<String> {
        let config = self.put_blob(repository, "application/vnd.oci.image.config.v1+json", b"{}")?;
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers});
        self.put_manifest(repository, tag, &manifest)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> Result<ureq::http::Response<ureq::Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.host()))
            .header("content-type", media_type);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let answer = self.agent.run(request.body(body)?)?;
        Ok(answer)
    }
}

/// As registries write it.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A key pair in the files `cosign.key` (unencrypted) and `cosign.pub`, made by openssl as cosign makes them: ECDSA over P-256.
#[derive(Debug)]
pub struct SigningKey {
    dir: TempDir,
}

impl SigningKey {
    /// A new pair.
    ///
    /// # Errors
    /// When openssl is not there.
    pub fn new() -> Result<Self> {
        let key = Self { dir: tempfile::tempdir()? };
        key.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "cosign.key",
        ])?;
        key.openssl(&["pkey", "-in", "cosign.key", "-pubout", "-out", "cosign.pub"])?;
        Ok(key)
    }

    /// The file for `--plugin-key`.
    pub fn public(&self) -> PathBuf {
        self.dir.path().join("cosign.pub")
    }

    /// Stores a signature of the manifest `digest` beside it, as `cosign sign --key` does: cosign's SIGNATURE_SPEC.md, "simple signing".
    ///
    /// # Errors
    /// When openssl or the registry refuses.
    pub fn sign(&self, registry: &Registry, repository: &str, digest: &str) -> Result<()> {
        self.sign_beside(registry, repository, digest, digest)
    }

    /// Stores a signature of the manifest `digest` where readers look for those of the manifest `beside`, in place of what is there.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_beside(
        &self,
        registry: &Registry,
        repository: &str,
        digest: &str,
        beside: &str,
    ) -> Result<()> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": format!("{}/{repository}", registry.host())},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature"
            },
            "optional": null
        });
        std::fs::write(self.dir.path().join("payload"), payload.to_string())?;
        self.openssl(&["dgst", "-sha256", "-sign", "cosign.key", "-out", "signature", "payload"])?;
        self.openssl(&["base64", "-A", "-in", "signature", "-out", "signature.b64"])?;
        let signature = std::fs::read_to_string(self.dir.path().join("signature.b64"))?;
        let mut layer = registry.put_blob(
            repository,
            "application/vnd.dev.cosign.simplesigning.v1+json",
            payload.to_string().as_bytes(),
        )?;
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature.trim()});
        let tag = format!("{}.sig", beside.replace(':', "-"));
        registry.put_image(repository, &tag, &[layer]).map(drop)
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .context("run openssl")?;
        if !output.status.success() {
            bail!("openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

fn program() -> Result<PathBuf> {
    ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .map(Path::to_path_buf)
        .context("docker-registry is not installed: run `make test`")
}
