//! From a registry's challenge to the value of `Authorization`.
//!
//! Challenges: RFC 9110, section 11.6.1. Token services: docs of the distribution project, "Token Authentication Specification" (GET with a
//! user's password, or nobody's) and "OAuth2 Token Authentication" (POST with an identity token).

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::http::{Ask, Http};
use crate::limits::Limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::ChallengeParser;
use serde::Deserialize;
use ureq::http::header::WWW_AUTHENTICATE;
use ureq::http::{HeaderMap, Method, StatusCode, Uri};

/// What a registry wants to see.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// Answers the challenge of a 401. `scope` is asked for if the challenge names none.
///
/// # Errors
/// `Refused`: there is nothing to answer with, or the token service does not accept it; `Unavailable`: it does not answer.
pub(crate) fn authorize(
    http: &Http,
    challenge: &HeaderMap,
    credentials: Option<&Credentials>,
    scope: &str,
    limits: &Limits,
) -> Result<String> {
    if let Some(Credentials::RegistryToken(token)) = credentials {
        return Ok(format!("Bearer {token}"));
    }
    match (read(challenge), credentials) {
        (Some(Challenge::Basic), Some(Credentials::Basic { user, password })) => Ok(basic(user, password)),
        (Some(Challenge::Basic), Some(_)) => {
            Err(Error::refused("it asks for a user and password, and --registry-auth has a token for it"))
        }
        (Some(Challenge::Basic), None) => Err(Error::refused(
            "it asks for a user and password: give them with --registry-auth FILE (a .dockerconfigjson)",
        )),
        (Some(Challenge::Bearer { realm, service, scope: asked }), credentials) => {
            let scope = asked.as_deref().unwrap_or(scope);
            bearer(http, &realm, service.as_deref(), scope, credentials, limits)
        }
        (None, _) => Err(Error::refused("it asks for credentials in a way that wasmount does not know")),
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn bearer(
    http: &Http,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    credentials: Option<&Credentials>,
    limits: &Limits,
) -> Result<String> {
    let mut fields = vec![("scope", scope)];
    fields.extend(service.map(|service| ("service", service)));
    let nonsense = || Error::refused("its token service has no URL");
    let base: Uri = realm.parse().map_err(|_| nonsense())?;
    let body;
    let ask = if let Some(Credentials::IdentityToken(token)) = credentials {
        fields.extend([("grant_type", "refresh_token"), ("client_id", "wasmount"), ("refresh_token", token)]);
        body = form(&fields);
        Ask {
            method: Method::POST,
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            body: Some((body.as_bytes(), None)),
            ..Ask::get(base, limits.request)
        }
    } else {
        let separator = if base.query().is_some() { '&' } else { '?' };
        let url = format!("{realm}{separator}{}", form(&fields)).parse().map_err(|_| nonsense())?;
        let authorization = match credentials {
            Some(Credentials::Basic { user, password }) => Some(basic(user, password)),
            _ => None,
        };
        Ask { authorization, ..Ask::get(url, limits.request) }
    };
    let answer = http.send(ask)?;
    let host = answer.host.clone();
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            return Err(Error::refused(match credentials {
                Some(_) => {
                    format!("the token service {host} does not accept the credentials of --registry-auth")
                }
                None => {
                    format!("the token service {host} wants credentials: give them with --registry-auth FILE")
                }
            }));
        }
        other => return Err(Error::refused(format_args!("the token service {host} answers {other}"))),
    }
    let token: Token = serde_json::from_slice(&answer.small()?)
        .map_err(|_| Error::refused(format_args!("the token service {host} answers without a token")))?;
    let token = if token.token.is_empty() { token.access_token } else { token.token };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::refused(format_args!("the token service {host} answers without a token")));
    }
    Ok(format!("Bearer {token}"))
}

/// The challenge to answer: a token service's if there is one.
fn read(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
        for challenge in ChallengeParser::new(value).map_while(std::result::Result::ok) {
            let parameter = |name: &str| {
                let of_name = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                of_name.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                return Some(Challenge::Bearer {
                    realm,
                    service: parameter("service"),
                    scope: parameter("scope"),
                });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                found = Some(Challenge::Basic);
            }
        }
    }
    found
}

/// `application/x-www-form-urlencoded`, for queries too.
fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
                other => out.push_str(&format!("%{other:02X}")),
            }
            out
        })
    };
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn challenges() {
        assert_eq!(challenge(&["Basic realm=\"Registry\""]), Some(Challenge::Basic));
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull\"";
        let bearer = Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: Some("registry.docker.io".to_owned()),
            scope: Some("repository:a/b:pull".to_owned()),
        };
        assert_eq!(challenge(&["Basic realm=\"x\"", hub]), Some(bearer));
        assert_eq!(challenge(&["Negotiate"]), None);
        assert_eq!(challenge(&["Bearer"]), None);
        assert_eq!(challenge(&[]), None);
    }

    #[test]
    fn forms() {
        let fields = [("scope", "repository:a/b:pull,push"), ("service", "ü x")];
        assert_eq!(form(&fields), "scope=repository%3Aa%2Fb%3Apull%2Cpush&service=%C3%BC%20x");
    }
}
