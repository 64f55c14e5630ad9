//! What comes back.

use super::ResponseBody;

/// The head of a response, and its body which may still be arriving. Every status is a response, 5xx too; redirects
/// are never followed.
#[derive(Debug)]
pub struct HttpResponse {
    /// Three digits.
    pub status: u16,
    /// In order, names in lower case; values that are not UTF-8 are decoded as ISO 8859-1.
    pub headers: Vec<(String, String)>,
    /// The content exactly as sent.
    pub body: ResponseBody,
}

impl HttpResponse {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}
