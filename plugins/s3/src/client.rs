//! One request to the store, from the signature to a success or an error worth reading.

use crate::credentials::{Credentials, Current};
use crate::failure::{Attempt, Failure};
use crate::options::Config;
use wasmount_sdk::http::{Request, Response};
use wasmount_sdk::sigv4::{Payload, Signer, Unsigned};
use wasmount_sdk::{ByteRange, Error, ErrorKind, Result, RetryAdvice, retry, system};

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

    /// The same until all of the answer is there, which is text of at most so many bytes.
    ///
    /// # Errors
    /// As [`Self::send`], and of [`Response::text`].
    pub async fn text(&self, call: &Call<'_>, most: u32) -> Result<String> {
        let attempt = async || self.attempt(call).await?.text(most).await.map_err(broken);
        retry(retry::Policy::default(), attempt).await
    }

    /// One attempt, and another at once if the credentials were refused and there are others by now.
    async fn attempt(&self, call: &Call<'_>) -> Result<Response> {
        let credentials = &self.credentials;
        let answer = with_fresh_credentials(
            credentials.current().await?,
            |current| self.exchange(call, current),
            |refused, certain| async move { credentials.renewed(&refused, certain).await },
        );
        answer.await?.map_err(|failure| failure.error(&self.describe(call)))
    }

    async fn exchange(&self, call: &Call<'_>, current: Current) -> Result<Result<Response, Failure>> {
        let unsigned =
            Unsigned { method: call.method, url: call.url, headers: &self.signed, payload: Payload::Empty };
        let signature = self.credentials.sign(&current, &self.signer, &unsigned, system::now())?;
        let request = Request::new(call.method, call.url)
            .headers(self.signed.iter().cloned())
            .headers(signature)
            .range(call.range)?
            .if_match(call.pin)
            .if_none_match(call.unless);
        let response = request.send().await?;
        match response.status {
            200 | 206 | 304 => {
                self.credentials.accepted(&current);
                Ok(Ok(response))
            }
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
            credentials: self.config.credentials,
        }
    }
}

/// Exchanges once, and again at once if the answer doubts the credentials and `renew` finds others. Never a third time.
async fn with_fresh_credentials<C: Clone, T, E, R>(
    first: C,
    exchange: impl Fn(C) -> E,
    renew: impl FnOnce(C, bool) -> R,
) -> Result<Result<T, Failure>>
where
    E: Future<Output = Result<Result<T, Failure>>>,
    R: Future<Output = Result<Option<C>>>,
{
    match exchange(first.clone()).await? {
        Err(failure) if failure.doubts_credentials() => {
            let certain = failure.refuses_credentials();
            match renew(first, certain).await? {
                Some(other) => exchange(other).await,
                None => Ok(Err(failure)),
            }
        }
        answer => Ok(answer),
    }
}

/// A body that broke off: another request may bring all of it.
fn broken(error: Error) -> Error {
    match (error.kind, &error.retry) {
        (ErrorKind::Unavailable | ErrorKind::TimedOut, RetryAdvice::Never) => error.retry_after_ms(0),
        _ => error,
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
    use futures::future::ready;
    use std::cell::{Cell, RefCell};

    /// The answer, the credentials of each request, and how often others were looked for.
    fn run(statuses: &[u16], others: Option<u8>) -> (Result<u16, u16>, Vec<u8>, usize) {
        let (asked, looks) = (RefCell::new(Vec::new()), Cell::new(0));
        let exchange = |credentials| {
            let status = statuses[asked.borrow().len()];
            asked.borrow_mut().push(credentials);
            ready(Ok(if status == 200 { Ok(status) } else { Err(Failure { status, ..Failure::default() }) }))
        };
        let renew = |refused, certain| {
            looks.set(looks.get() + 1);
            assert_eq!((refused, certain), (1, false), "there is no body to say why");
            ready(Ok(others))
        };
        let answer = block_on(with_fresh_credentials(1, exchange, renew)).unwrap();
        (answer.map_err(|failure| failure.status), asked.take(), looks.get())
    }

    #[test]
    fn a_rotated_key_is_tried_once() {
        assert_eq!(run(&[403, 200], Some(2)), (Ok(200), vec![1, 2], 1));
        assert_eq!(run(&[403, 403, 200], Some(2)), (Err(403), vec![1, 2], 1));
    }

    #[test]
    fn a_key_that_is_the_same_is_not_tried_again() {
        assert_eq!(run(&[401, 200], None), (Err(401), vec![1], 1));
    }

    #[test]
    fn other_answers_look_for_nothing() {
        for status in [200, 404, 412, 503] {
            let (_, asked, looks) = run(&[status, 200], Some(2));
            assert_eq!((asked, looks), (vec![1], 0), "{status}");
        }
    }
}
