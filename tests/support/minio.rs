//! A real MinIO on 127.0.0.1.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::bounded::wait_for;
use crate::paths;
use crate::port::Port;
use crate::process::Process;
use crate::s3::{Client, Credentials};
use crate::tls::PrivateCa;
use rustix::process::Signal;

/// How long MinIO may take to answer its first request, on a machine that is busy building.
const START: Duration = Duration::from_secs(60);

/// A running server with a data directory of its own.
#[derive(Debug)]
pub struct Minio {
    process: Option<Process>,
    // After the process: its data must outlive it.
    dir: TempDir,
    port: Port,
    ca: Option<PrivateCa>,
    environment: Vec<(String, String)>,
}

impl Minio {
    /// Starts a server that speaks plain HTTP.
    ///
    /// # Errors
    /// When the binary is missing (`make test` builds it) or it does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(None, Vec::new())
    }

    /// Starts a server that speaks plain HTTP, with further settings in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_configured(environment: Vec<(String, String)>) -> Result<Self> {
        Self::start_with(None, environment)
    }

    /// Starts a server that speaks HTTPS with a certificate of a private authority.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_tls() -> Result<Self> {
        Self::start_with(Some(PrivateCa::new()?), Vec::new())
    }

    fn start_with(ca: Option<PrivateCa>, environment: Vec<(String, String)>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("wasmount-minio-").tempdir().context("make a directory")?;
        std::fs::create_dir(dir.path().join("data")).context("make a data directory")?;
        std::fs::create_dir(dir.path().join("certs")).context("make a certificate directory")?;
        if let Some(ca) = &ca {
            let leaf = ca.server_certificate()?;
            std::fs::write(dir.path().join("certs/public.crt"), leaf.certificate)?;
            std::fs::write(dir.path().join("certs/private.key"), leaf.key)?;
        }
        let mut minio = Self { process: None, dir, port: Port::free()?, ca, environment };
        minio.resume()?;
        Ok(minio)
    }

    /// Starts the server again, on the same port and data, after [`Self::stop`].
    ///
    /// # Errors
    /// When it does not come up; the message carries its log.
    pub fn resume(&mut self) -> Result<()> {
        let root = self.dir.path().to_path_buf();
        let address = format!("127.0.0.1:{}", self.port);
        let environment = self.environment.clone();
        let mut process = Process::start(&paths::minio()?, |command| {
            command.args(["server", "--quiet", "--address", &address, "--certs-dir"]);
            command.arg(root.join("certs")).arg(root.join("data"));
            let credentials = Credentials::minio();
            command.env("MINIO_ROOT_USER", credentials.access_key);
            command.env("MINIO_ROOT_PASSWORD", credentials.secret_key);
            command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off").env("HOME", &root);
            command.envs(environment);
        })?;
        let client = self.client()?;
        let ended = wait_for("MinIO answers", START, || {
            if let Some(status) = process.ended() {
                return Some(Some(status));
            }
            client.is_ready().then_some(None)
        });
        match ended {
            Ok(None) => self.process = Some(process),
            Ok(Some(status)) => bail!("MinIO ended with {status}:\n{}", process.log.text()),
            Err(error) => return Err(error.context(process.log.text())),
        }
        Ok(())
    }

    /// Stops the server; its data and its port stay.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Does something while the server is frozen: it accepts connections and answers nothing.
    pub fn paused<T>(&self, work: impl FnOnce() -> T) -> T {
        let signal = |signal| self.process.iter().for_each(|process| process.signal(signal));
        signal(Signal::STOP);
        let outcome = work();
        signal(Signal::CONT);
        outcome
    }

    /// Its address as a URL, such as `http://127.0.0.1:24519`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The authority of an HTTPS server.
    pub fn ca(&self) -> Option<&PrivateCa> {
        self.ca.as_ref()
    }

    /// A client with the administrator's credentials.
    ///
    /// # Errors
    /// When the server's certificate cannot be understood.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.endpoint(), Credentials::minio(), self.ca.as_ref())
    }

    /// Where its data is.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the other tests take for granted: the client, the server, its restart and its TLS.
    fn there_and_back(mut minio: Minio) {
        let client = minio.client().unwrap();
        client.make_bucket("bucket").unwrap();
        client.make_bucket("bucket").unwrap();
        let key = "dir/a b+c%&?#'\"=中\u{200b}~*.o";
        client.put("bucket", key, b"content").unwrap();
        minio.stop();
        assert!(!client.is_ready());
        minio.resume().unwrap();
        assert_eq!(client.get("bucket", key).unwrap(), b"content");
        assert_eq!(client.list("bucket", "dir/").unwrap(), [key]);
        client.delete("bucket", key).unwrap();
        assert!(client.list("bucket", "").unwrap().is_empty());
        assert!(client.get("bucket", key).unwrap_err().to_string().contains("NoSuchKey"));
    }

    #[test]
    fn plain() {
        there_and_back(Minio::start().unwrap());
    }

    #[test]
    fn tls() {
        there_and_back(Minio::start_tls().unwrap());
    }
}
