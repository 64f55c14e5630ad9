//! One kept connection to an S3 server: signed GETs, and as little else as possible.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmount_tests::s3::Client;

use crate::data::{self, BUCKET};

/// Longer than any single answer takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What is received at once. It is used again and again, so that it stays in the processor's cache.
const BUFFER: usize = 256 << 10;

/// A connection and its buffer.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    client: &'a Client,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    /// Connects to the client's server.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) fn open(client: &'a Client) -> Result<Self> {
        let stream = TcpStream::connect(client.host()).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { client, stream, buffer: vec![1; BUFFER] })
    }

    /// Gets part of an object, checks its start and throws it away.
    ///
    /// # Errors
    /// When the server refuses, or sends something else.
    pub(crate) fn get(&mut self, key: &str, start: u64, len: u64) -> Result<()> {
        let (target, headers) = self.client.signed_get(BUCKET, key)?;
        let range = ("range", format!("bytes={start}-{}", start + len - 1));
        let (mut left, body) = self.send(&target, headers.into_iter().chain([range]))?;
        ensure!(left == len as usize, "{key}: {left} bytes instead of {len}");
        data::check(key, start, self.buffer.get(body.clone()).unwrap_or_default())?;
        left -= body.len();
        while left > 0 {
            left -= self.receive(0, left)?;
        }
        Ok(())
    }

    /// One page of a listing.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn list(&mut self, prefix: &str, token: Option<&str>) -> Result<String> {
        let mut query = vec![("delimiter", "/"), ("list-type", "2"), ("prefix", prefix)];
        query.extend(token.map(|token| ("continuation-token", token)));
        let (target, headers) = self.client.signed_list(BUCKET, &query)?;
        let (mut left, body) = self.send(&target, headers)?;
        left -= body.len();
        let mut page = self.buffer.get(body).unwrap_or_default().to_vec();
        while left > 0 {
            let got = self.receive(0, left)?;
            page.extend_from_slice(self.buffer.get(..got).unwrap_or_default());
            left -= got;
        }
        Ok(String::from_utf8(page)?)
    }

    /// Sends a GET. Returns the length of the body, and where in the buffer its beginning lies.
    fn send(
        &mut self,
        target: &str,
        headers: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<(usize, std::ops::Range<usize>)> {
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n", self.client.host());
        for (name, value) in headers {
            head.extend([name, ": ", &value, "\r\n"]);
        }
        head.push_str("\r\n");
        self.stream.write_all(head.as_bytes())?;
        let mut have = 0;
        let body_at = loop {
            have += self.receive(have, usize::MAX)?;
            let seen = self.buffer.get(..have).unwrap_or_default();
            if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let answer = String::from_utf8_lossy(self.buffer.get(..body_at).unwrap_or_default()).to_lowercase();
        ensure!(answer.starts_with("http/1.1 20"), "{answer}");
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.context("an answer without content-length")?.trim().parse::<usize>()?;
        ensure!(have - body_at <= length, "the answer is longer than announced");
        Ok((length, body_at..have))
    }

    /// Receives at most `most` bytes into the buffer from `at` on.
    fn receive(&mut self, at: usize, most: usize) -> Result<usize> {
        let free = self.buffer.get_mut(at..).filter(|free| !free.is_empty()).context("an overlong head")?;
        let want = most.min(free.len());
        let got = self.stream.read(free.get_mut(..want).unwrap_or_default())?;
        ensure!(got > 0, "the server closed the connection");
        Ok(got)
    }
}
