//! A real server behind the suite's origin, so that faults can happen on the way to it.

use super::message::{content_length, parse_headers, read_head};
use super::{Handler, Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Largest answer that is passed on, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Passes each request on over a connection of its own. The `host` header stays as the plugin sent and signed it.
pub struct Forward {
    /// `HOST:PORT` of a server that speaks plain HTTP.
    pub upstream: String,
}

impl Handler for Forward {
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send + '_>> {
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(e)) => Response::new(502, Vec::new(), format!("{}: {e}\n", self.upstream)),
                Err(_) => Response::new(504, Vec::new(), format!("{} did not answer\n", self.upstream)),
            }
        })
    }
}

impl Forward {
    async fn exchange(&self, request: Request) -> std::io::Result<Response> {
        let mut stream = TcpStream::connect(&self.upstream).await?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in request.headers.iter().filter(|(name, _)| name != "connection") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&request.body).await?;
        let mut stream = BufReader::new(stream);
        let lines = read_head(&mut stream).await?.unwrap_or_default();
        let mut lines = lines.into_iter();
        let status = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))?;
        let mut headers = parse_headers(lines);
        let mut body = Vec::new();
        let chunked =
            headers.iter().any(|(n, v)| n == "transfer-encoding" && v.eq_ignore_ascii_case("chunked"));
        if request.method == "HEAD" {
            // The length is that of the content a GET would get: keep the header, send nothing.
        } else if chunked {
            body = read_chunks(&mut stream).await?;
        } else {
            let length = content_length(&headers).map_or(MAX_ANSWER, |n| n as u64);
            (&mut stream).take(length.min(MAX_ANSWER)).read_to_end(&mut body).await?;
        }
        headers
            .retain(|(name, _)| !matches!(name.as_str(), "connection" | "transfer-encoding" | "keep-alive"));
        Ok(Response::new(status, headers, body))
    }
}

/// Chunked content (RFC 9112 section 7.1), without trailers.
async fn read_chunks(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncBufReadExt;
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let digits = line.trim().split(';').next().unwrap_or_default();
        let size =
            usize::from_str_radix(digits, 16).map_err(|_| std::io::Error::other("malformed chunk size"))?;
        if size == 0 {
            return Ok(body);
        }
        if (body.len() + size) as u64 > MAX_ANSWER {
            return Err(std::io::Error::other("the answer is too large for the test origin"));
        }
        let begin = body.len();
        body.resize(begin + size, 0);
        stream.read_exact(&mut body[begin..]).await?;
        let mut end = [0; 2];
        stream.read_exact(&mut end).await?;
    }
}
