//! Keyring files: sections named after users, each with a key.

use super::{AuthError, Key};

/// A keyring without a usable key for the user that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It has no section of that name.
    #[error("the keyring has no section [{entity}]{}", others(found))]
    Missing {
        /// Which was looked for.
        entity: String,
        /// Which there are.
        found: Vec<String>,
    },
    /// The section has no key.
    #[error("section [{entity}] of the keyring has no line `key = …`")]
    NoKey {
        /// Which was looked for.
        entity: String,
    },
    /// A line is neither a section, nor a comment, nor an assignment.
    #[error("line {line} of the keyring is not `name = value`")]
    Line {
        /// Counted from 1.
        line: usize,
    },
}

fn others(found: &[String]) -> String {
    match found {
        [] => ", in fact none at all".to_owned(),
        found => format!(", only [{}]", found.join("], [")),
    }
}

/// The key of `entity` (`client.admin`) in the text of a keyring. A text that is just a key, as in the files of Ceph's option
/// `keyfile`, is that key.
///
/// # Errors
/// There is no such section, it has no key, or the key is not one.
pub fn parse(text: &str, entity: &str) -> Result<Key, AuthError> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';'])).peekable();
    if let Some((_, first)) = lines.peek()
        && !first.starts_with('[')
        && let Ok(key) = Key::parse(text)
    {
        return Ok(key);
    }
    let mut found = Vec::new();
    let mut key = None;
    for (line, content) in lines {
        if let Some(section) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            found.push(section.trim().to_owned());
            continue;
        }
        let (name, value) = content.split_once('=').ok_or(KeyringError::Line { line })?;
        if name.trim() == "key" && found.last().is_some_and(|section| section == entity) {
            // The last one counts, as in Ceph.
            key = Some(value.trim().trim_matches('"'));
        }
    }
    match key {
        Some(key) => Ok(Key::parse(key)?),
        None if found.iter().any(|section| section == entity) => {
            Err(KeyringError::NoKey { entity: entity.to_owned() }.into())
        }
        None => Err(KeyringError::Missing { entity: entity.to_owned(), found }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{KeyError, KeyType};

    const RING: &str = "# of the test cluster\n[client.admin]\n\tkey = AQBiKBxYuPXiJRAAsupnTBsURoWzb0k00oM3iQ==\n\
        \tcaps mon = \"allow *\"\n; another\n[client.new]\nkey=AgDMxQBr+4dlCyAAKyfb6F/uEd/fSaxhbddAdL9qjVExFFh2hLXdag8DPrY=\n[client.none]\n";

    #[test]
    fn the_key_of_the_user_is_found() {
        assert_eq!(parse(RING, "client.admin").unwrap().key_type(), KeyType::Aes);
        assert_eq!(parse(RING, "client.new").unwrap().key_type(), KeyType::Aes256k);
        let bare = "AQBiKBxYuPXiJRAAsupnTBsURoWzb0k00oM3iQ==\n";
        assert_eq!(parse(bare, "client.any").unwrap().key_type(), KeyType::Aes);
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(
            parse(RING, "client.tst1").unwrap_err().to_string(),
            "the keyring has no section [client.tst1], only [client.admin], [client.new], [client.none]"
        );
        assert_eq!(
            parse("", "client.a").unwrap_err().to_string(),
            "the keyring has no section [client.a], in fact none at all"
        );
        assert!(matches!(
            parse(RING, "client.none").unwrap_err(),
            AuthError::Keyring(KeyringError::NoKey { .. })
        ));
        let line = parse("[client.a]\nkey: x\n", "client.a").unwrap_err();
        assert_eq!(line, AuthError::Keyring(KeyringError::Line { line: 2 }));
        let key = parse("[client.a]\nkey = x=y\n", "client.a").unwrap_err();
        assert_eq!(key, AuthError::Key(KeyError::NotBase64));
    }
}
