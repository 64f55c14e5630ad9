//! AWS Signature Version 4, header form, unsigned payload ("Signature Calculations for the Authorization Header").

use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Credentials;
use super::date::Date;

/// The region of the scope. MinIO without a configured region accepts any.
const REGION: &str = "us-east-1";
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What is signed.
pub(super) struct Parts<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// Encoded.
    pub(super) path: &'a str,
    /// Encoded and sorted.
    pub(super) query: &'a str,
    pub(super) credentials: &'a Credentials,
    pub(super) now: Date,
}

/// The headers to add to the request, apart from `host`.
pub(super) fn headers(parts: &Parts<'_>) -> Result<Vec<(&'static str, String)>> {
    let Date { day, full } = &parts.now;
    let names = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!(
        "{}\n{}\n{}\nhost:{}\nx-amz-content-sha256:{PAYLOAD}\nx-amz-date:{full}\n\n{names}\n{PAYLOAD}",
        parts.method, parts.path, parts.query, parts.host
    );
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{full}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = hmac(format!("AWS4{}", parts.credentials.secret_key).as_bytes(), day)?;
    for part in [REGION, "s3", "aws4_request"] {
        key = hmac(&key, part)?;
    }
    let signature = hex(&hmac(&key, &to_sign)?);
    let access_key = &parts.credentials.access_key;
    Ok(vec![
        ("x-amz-date", full.clone()),
        ("x-amz-content-sha256", PAYLOAD.to_owned()),
        (
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
            ),
        ),
    ])
}

fn hmac(key: &[u8], data: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(data.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
