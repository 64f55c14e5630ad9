//! The canonical request: the one text that both sides compute from a request.

use super::Unsigned;

/// A canonical request.
pub(super) struct Canonical {
    /// What is hashed.
    pub(super) text: String,
    /// Names of the headers it covers, joined by `;`.
    pub(super) signed_headers: String,
}

/// Puts it together from the request, the headers the signature adds and the value of `x-amz-content-sha256`.
pub(super) fn request(request: &Unsigned<'_>, added: &[(String, String)], payload: &str) -> Canonical {
    let url = Url::split(request.url);
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .chain(added)
        .map(|(name, value)| (name.to_ascii_lowercase(), collapse(value)))
        .chain([("host".to_owned(), url.authority.to_owned())])
        .collect();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    // Values of a repeated header are joined in the order they are sent; the sort above is stable.
    headers.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1.push(',');
            first.1.push_str(&later.1);
        }
        same
    });

    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let signed_headers = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let text = format!(
        "{}\n{}\n{}\n{lines}\n{signed_headers}\n{payload}",
        request.method,
        url.path,
        canonical_query(url.query)
    );
    Canonical { text, signed_headers }
}

/// The parts of an absolute URL.
struct Url<'a> {
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    fn split(url: &'a str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        match before.find('/') {
            Some(slash) => {
                let (authority, path) = before.split_at(slash);
                Self { authority, path, query }
            }
            None => Self { authority: before, path: "/", query },
        }
    }
}

/// Parameters in order, each with an `=`.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// A header value without spaces at the ends and with single ones inside.
fn collapse(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
