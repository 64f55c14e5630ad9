//! Reading XML one element at a time, whatever else the server put into it.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use wasmount_sdk::{Error, Result};

/// Deepest nesting accepted. S3's own documents have five levels.
const MAX_DEPTH: usize = 32;

/// Something found in a document. Names are without namespace prefixes, paths begin at the root.
pub(crate) enum Node<'a> {
    /// An element begins.
    Begin(&'a [String]),
    /// An element ends; with the text directly in it.
    End(&'a [String], &'a str),
}

/// Walks through a whole document and reports its elements in order.
///
/// # Errors
/// `corrupt`: malformed, incomplete, nested too deep, or with entities of its own; and what `visit` says.
pub(crate) fn walk(document: &str, mut visit: impl FnMut(Node<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::from_str(document);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut complete = false;
    loop {
        match reader.read_event().map_err(|error| malformed(&error))? {
            Event::Start(start) => {
                if path.len() >= MAX_DEPTH || (complete && path.is_empty()) {
                    return Err(malformed(&"elements are nested too deep or follow the root"));
                }
                path.push(start.local_name().into_inner().to_owned());
                text.clear();
                visit(Node::Begin(&path))?;
            }
            Event::Empty(start) => {
                path.push(start.local_name().into_inner().to_owned());
                visit(Node::Begin(&path))?;
                visit(Node::End(&path, ""))?;
                path.pop();
                complete |= path.is_empty();
                text.clear();
            }
            Event::End(_) => {
                visit(Node::End(&path, &text))?;
                path.pop();
                complete |= path.is_empty();
                text.clear();
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::CData(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => {
                match reference.resolve_char_ref().map_err(|error| malformed(&error))? {
                    Some(character) => text.push(character),
                    None => text.push_str(
                        resolve_predefined_entity(&reference)
                            .ok_or_else(|| malformed(&"an entity nobody defined"))?,
                    ),
                }
            }
            Event::DocType(_) => return Err(malformed(&"a document type, which S3 never sends")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if complete && path.is_empty() => return Ok(()),
            Event::Eof => return Err(malformed(&"it ends in the middle")),
        }
    }
}

fn malformed(why: &dyn std::fmt::Display) -> Error {
    Error::corrupt(format!("the store sent XML that cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(document: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        walk(document, |node| {
            if let Node::End(path, text) = node {
                found.push((path.join("/"), text.to_owned()));
            }
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn reads_text_in_all_its_forms() {
        let document = "<?xml version=\"1.0\"?><!-- c --><s3:A xmlns:s3='x'><B>a&amp;&#x1;&quot;<![CDATA[<]]> </B><C/></s3:A>";
        let found = leaves(document).unwrap();
        assert_eq!(found[0], ("A/B".into(), "a&\u{1}\"< ".into()));
        assert_eq!(found[1], ("A/C".into(), String::new()));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let document = "<A><B>x&amp;y</B><C/></A>";
        for length in 0..document.len() {
            assert!(leaves(&document[..length]).is_err(), "{length}");
        }
        assert!(leaves(document).is_ok());
    }

    #[test]
    fn what_is_no_sound_xml_is_an_error() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        for bad in [
            "",
            "plain",
            "<A></B>",
            "<A>&nobody;</A>",
            "<!DOCTYPE html><html></html>",
            "<A/><B></B>",
            "<A b=></A><",
            "<A>&#0;</A>",
            &deep,
        ] {
            assert!(leaves(bad).is_err(), "{bad}");
        }
    }
}
