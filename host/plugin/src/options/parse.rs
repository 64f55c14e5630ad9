//! Reads one value by the kind of its option. Errors complete the sentence "the option … ".

use super::{Endpoint, Plain};
use crate::description::{EndpointRule, OptionKind};

/// Most addresses of one option: monitors of a large cluster.
const MAX_ENDPOINTS: usize = 64;

/// Longest value that is repeated in a message.
const SHOWN: usize = 80;

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Reads a value; `Text` for kinds whose value is a file's content.
pub(crate) fn value(kind: &OptionKind, text: &str) -> Result<Plain, String> {
    match kind {
        OptionKind::Text | OptionKind::Secret { .. } | OptionKind::FileContent => {
            Ok(Plain::Text(text.to_owned()))
        }
        OptionKind::Integer { min, max } => {
            let number = text.trim().parse::<i64>().ok().filter(|n| (*min..=*max).contains(n));
            number
                .map(Plain::Integer)
                .ok_or_else(|| format!("must be a whole number from {min} to {max}, not {}", shown(text)))
        }
        OptionKind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "" => Ok(Plain::Boolean(true)),
            "false" | "no" | "off" | "0" => Ok(Plain::Boolean(false)),
            _ => Err(format!("must be true or false, not {}", shown(text))),
        },
        OptionKind::Size => size(text)
            .map(Plain::Size)
            .ok_or_else(|| format!("must be a size such as 64k, 16MiB or 1G, not {}", shown(text))),
        OptionKind::Duration => duration_ms(text)
            .map(Plain::DurationMs)
            .ok_or_else(|| format!("must be a time such as 500ms, 30s or 5m, not {}", shown(text))),
        OptionKind::Choice(words) => words
            .iter()
            .find(|word| word.as_str() == text.trim())
            .map(|word| Plain::Text(word.clone()))
            .ok_or_else(|| format!("must be one of {}, not {}", words.join(", "), shown(text))),
        OptionKind::Endpoint(rule) => endpoints(rule, text),
    }
}

/// Digits at the beginning, and the rest without spaces in lower case.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit.as_str() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn endpoints(rule: &EndpointRule, text: &str) -> Result<Plain, String> {
    let parts: Vec<&str> = if rule.many {
        text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()).collect()
    } else {
        vec![text.trim()]
    };
    if parts.is_empty() || parts.len() > MAX_ENDPOINTS {
        return Err(format!("must name 1 to {MAX_ENDPOINTS} addresses"));
    }
    let mut warning = None;
    let found = parts.into_iter().map(|part| endpoint(rule, part, &mut warning)).collect::<Result<_, _>>()?;
    Ok(Plain::Endpoints(found, warning))
}

fn endpoint(rule: &EndpointRule, text: &str, warning: &mut Option<String>) -> Result<Endpoint, String> {
    let example = || {
        let first = rule.protocols.first().map_or("https", String::as_str);
        format!("must be an address such as {first}://host:{}, not {}", rule.default_port, shown(text))
    };
    let (protocol, rest) = match text.split_once("://") {
        Some((protocol, rest)) => (protocol.to_ascii_lowercase(), rest),
        None => (rule.protocols.first().cloned().unwrap_or_default(), text),
    };
    if !rule.protocols.contains(&protocol) {
        return Err(format!("must begin with {}://, not {}", rule.protocols.join(":// or "), shown(text)));
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        // Not repeated in the message: there may be a password in it.
        return Err(
            "must not contain a user or password before the host; use the options for credentials".into()
        );
    }
    let path = tail.split(['?', '#']).next().unwrap_or("");
    if path.len() < tail.len() {
        *warning = Some("its query and fragment are ignored, since an endpoint has none".into());
    }
    let (host, port) = split_port(authority).ok_or_else(example)?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
    };
    if !good {
        return Err(example());
    }
    let standard = match (protocol.as_str(), rule.protocols.first()) {
        // The declared port belongs to the first protocol.
        ("http", first) if first != Some(&protocol) || rule.default_port == 0 => 80,
        ("https", first) if first != Some(&protocol) || rule.default_port == 0 => 443,
        _ => rule.default_port,
    };
    let port = match port {
        Some(digits) => digits.parse::<u16>().map_err(|_| example())?,
        None => standard,
    };
    if port == 0 {
        return Err(format!("must name a port: {}", shown(text)));
    }
    let path = if path == "/" { "" } else { path };
    Ok(Endpoint { protocol, host: bare.unwrap_or(host).to_owned(), port, path: path.to_owned() })
}

/// Host (in brackets if it was) and port.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3() -> OptionKind {
        OptionKind::Endpoint(EndpointRule {
            protocols: vec!["https".into(), "http".into()],
            default_port: 443,
            many: false,
            read_methods: vec![],
        })
    }

    fn one(text: &str) -> (String, Option<String>) {
        let Plain::Endpoints(mut found, warning) = value(&s3(), text).unwrap() else { panic!() };
        let e = found.remove(0);
        (format!("{} {} {} {}", e.protocol, e.host, e.port, e.path), warning)
    }

    #[test]
    fn endpoints() {
        assert_eq!(one("http://minio:9000").0, "http minio 9000 ");
        assert_eq!(one("HTTPS://s3.example.com/").0, "https s3.example.com 443 ");
        assert_eq!(one("http://s3.example.com/base").0, "http s3.example.com 80 /base");
        assert_eq!(one("s3.example.com:8443").0, "https s3.example.com 8443 ");
        assert_eq!(one("[fd00::1]:9000").0, "https fd00::1 9000 ");
        let (read, warning) = one("http://own:9000/?x=1&y=<2>");
        assert_eq!(read, "http own 9000 ");
        assert!(warning.unwrap().contains("query"));
        for bad in [
            "",
            "ftp://x",
            "http://",
            "http://a b",
            "http://h:0",
            "http://h:99999",
            "http://h:x",
            "http://[::1",
            "a:1:2",
        ] {
            value(&s3(), bad).unwrap_err();
        }
        let secret = value(&s3(), "http://user:hunter2@host").unwrap_err();
        assert!(secret.contains("credentials") && !secret.contains("hunter2"));
    }

    #[test]
    fn several_endpoints() {
        let kind = OptionKind::Endpoint(EndpointRule {
            protocols: vec!["tcp".into()],
            default_port: 3300,
            many: true,
            read_methods: vec![],
        });
        let Plain::Endpoints(found, None) = value(&kind, "10.0.0.1; b:6789,,c").unwrap() else { panic!() };
        let ports: Vec<_> = found.iter().map(|e| (e.host.as_str(), e.port)).collect();
        assert_eq!(ports, [("10.0.0.1", 3300), ("b", 6789), ("c", 3300)]);
        value(&kind, " ; ").unwrap_err();
        value(&kind, &"h,".repeat(65)).unwrap_err();
    }

    #[test]
    fn scalars() {
        let sizes = [("0", 0), ("64k", 65536), ("16MiB", 16 << 20), ("1 G", 1 << 30), ("2tb", 2 << 40)];
        for (text, bytes) in sizes {
            assert_eq!(value(&OptionKind::Size, text), Ok(Plain::Size(bytes)));
        }
        for bad in ["", "k", "-1", "1.5G", "16777217T", "99999999999999999999"] {
            value(&OptionKind::Size, bad).unwrap_err();
        }
        for (text, ms) in [("500ms", 500), ("30", 30_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(value(&OptionKind::Duration, text), Ok(Plain::DurationMs(ms)));
        }
        for (text, is) in [("", true), ("Yes", true), ("off", false), ("0", false)] {
            assert_eq!(value(&OptionKind::Boolean, text), Ok(Plain::Boolean(is)));
        }
        value(&OptionKind::Boolean, "maybe").unwrap_err();
        let integer = OptionKind::Integer { min: -1, max: 10 };
        assert_eq!(value(&integer, " -1 "), Ok(Plain::Integer(-1)));
        assert!(value(&integer, "11").unwrap_err().contains("from -1 to 10"));
        let choice = OptionKind::Choice(vec!["auto".into(), "true".into()]);
        assert_eq!(value(&choice, "auto"), Ok(Plain::Text("auto".into())));
        assert!(value(&choice, "fast").unwrap_err().contains("one of auto, true"));
        assert!(value(&choice, &"x".repeat(5000)).unwrap_err().len() < 200);
    }
}
