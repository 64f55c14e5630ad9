//! One request to the store, from the signature to a success or an error worth reading.

use crate::credentials::Credentials;
use crate::failure::{Attempt, Failure};
use crate::options::Config;
use wasmount_sdk::http::{Request, Response};
use wasmount_sdk::sigv4::{Payload, Signer, Unsigned};
use wasmount_sdk::{ByteRange, Result, RetryAdvice, retry, system};

/// Largest error document that is read.
const MAX_ERROR: u32 = 64 << 10;

/// Sends requests for one bucket.
#[derive(Debug)]
pub struct Client {
    /// What it was made from.
    pub config: Config,
    credentials: Credentials,
    signer: Signer,
    /// Headers of every request that the signature covers.
    signed: Vec<(String, String)>,
}

/// A request that reads.
#[derive(Debug)]
pub struct Call<'a> {
    /// `GET` or `HEAD`.
    pub method: &'static str,
    /// The URL, encoded.
    pub url: &'a str,
    /// Which bytes.
    pub range: Option<&'a ByteRange>,
    /// Only this version.
    pub pin: Option<&'a str>,
    /// Not this version.
    pub unless: Option<&'a str>,
    /// The store's key, for messages; `None` for a listing.
    pub key: Option<&'a str>,
    /// A listing that goes on from a token.
    pub continues: bool,
}

impl<'a> Call<'a> {
    /// A request without conditions that is about no object.
    pub fn new(method: &'static str, url: &'a str) -> Self {
        Self { method, url, range: None, pin: None, unless: None, key: None, continues: false }
    }
}

impl Client {
    /// A client that signs with these credentials.
    pub fn new(config: Config, credentials: Credentials) -> Self {
        let payer = config.request_payer.then(|| ("x-amz-request-payer".to_owned(), "requester".to_owned()));
        Self {
            signer: Signer::new(&config.region, "s3"),
            signed: payer.into_iter().collect(),
            config,
            credentials,
        }
    }

    /// Sends a request until the head of a successful answer is there: 200, 206 or 304. Only requests that read are sent, so
    /// any of them may be repeated.
    ///
    /// # Errors
    /// As [`Failure::error`] says; `unavailable` and `timed-out` when no answer came.
    pub async fn send(&self, call: &Call<'_>) -> Result<Response> {
        retry(retry::Policy::default(), || self.attempt(call)).await
    }

    /// One attempt, and another at once if the credentials were refused and have changed meanwhile.
    async fn attempt(&self, call: &Call<'_>) -> Result<Response> {
        let used = self.credentials.generations();
        let answer =
            with_fresh_credentials(|| self.exchange(call), || self.credentials.refresh(used)).await?;
        answer.map_err(|failure| failure.error(&self.describe(call)))
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Result<Response, Failure>> {
        let unsigned =
            Unsigned { method: call.method, url: call.url, headers: &self.signed, payload: Payload::Empty };
        let signature = self.credentials.sign(&self.signer, &unsigned, system::now())?;
        let request = Request::new(call.method, call.url)
            .headers(self.signed.iter().cloned())
            .headers(signature)
            .range(call.range)?
            .if_match(call.pin)
            .if_none_match(call.unless);
        let response = request.send().await?;
        match response.status {
            200 | 206 | 304 => Ok(Ok(response)),
            _ => Ok(Err(read_failure(response).await)),
        }
    }

    fn describe<'a>(&'a self, call: &Call<'a>) -> Attempt<'a> {
        Attempt {
            bucket: &self.config.location.bucket,
            endpoint: &self.config.address.endpoint,
            region: &self.config.region,
            key: call.key,
            continues: call.continues,
            anonymous: self.config.anonymous,
        }
    }
}

/// Exchanges once, and again at once if the answer doubts the credentials and `refresh` finds new ones. Never a third time.
async fn with_fresh_credentials<T, E, R>(
    exchange: impl Fn() -> E,
    refresh: impl FnOnce() -> R,
) -> Result<Result<T, Failure>>
where
    E: Future<Output = Result<Result<T, Failure>>>,
    R: Future<Output = Result<bool>>,
{
    match exchange().await? {
        Err(failure) if failure.doubts_credentials() && refresh().await? => exchange().await,
        answer => Ok(answer),
    }
}

async fn read_failure(response: Response) -> Failure {
    let text = |name| response.header(name).map(str::to_owned);
    let failure = Failure {
        status: response.status,
        code: text("x-minio-error-code"),
        message: text("x-minio-error-desc"),
        region: text("x-amz-bucket-region"),
        endpoint: None,
        retry_ms: match response.retry_advice() {
            RetryAdvice::AfterMs(wait) => Some(wait),
            RetryAdvice::Never | RetryAdvice::Reopen => None,
        },
    };
    match response.text(MAX_ERROR).await {
        Ok(body) => failure.with_body(&body),
        Err(_) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use std::cell::Cell;

    /// The answer, and how often it was asked for and the files read again.
    fn run(statuses: &[u16], refreshed: bool) -> (Result<u16, u16>, usize, usize) {
        let (asked, reads) = (Cell::new(0), Cell::new(0));
        let exchange = || async {
            let status = statuses[asked.get()];
            asked.set(asked.get() + 1);
            Ok(if status == 200 { Ok(status) } else { Err(Failure { status, ..Failure::default() }) })
        };
        let refresh = || async {
            reads.set(reads.get() + 1);
            Ok(refreshed)
        };
        let answer = block_on(with_fresh_credentials(exchange, refresh)).unwrap();
        (answer.map_err(|failure| failure.status), asked.get(), reads.get())
    }

    #[test]
    fn a_rotated_key_is_tried_once() {
        assert_eq!(run(&[403, 200], true), (Ok(200), 2, 1));
        assert_eq!(run(&[403, 403, 200], true), (Err(403), 2, 1));
    }

    #[test]
    fn a_key_that_is_the_same_is_not_tried_again() {
        assert_eq!(run(&[401, 200], false), (Err(401), 1, 1));
    }

    #[test]
    fn other_answers_read_no_files() {
        for status in [200, 404, 412, 503] {
            let (_, asked, reads) = run(&[status, 200], true);
            assert_eq!((asked, reads), (1, 0), "{status}");
        }
    }
}
