//! The troubleshooting page is keyed by what the program prints; each of its keys must still be printed by it.

use std::path::Path;

use anyhow::{Context, Result};
use wasmount_tests::paths::repository;

/// All sources below a folder, with strings that go on in the next line put together.
fn sources(folder: &Path, all: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            sources(&path, all)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let mut pieces = text.split("\\\n");
            all.push_str(pieces.next().unwrap_or_default());
            pieces.for_each(|piece| all.push_str(piece.trim_start()));
        }
    }
    Ok(())
}

/// Headings that quote a message, in pieces between what differs from case to case (`…`).
fn quoted(page: &str) -> Vec<Vec<&str>> {
    let messages = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    messages
        .map(|message| message.split('…').map(str::trim).filter(|piece| !piece.is_empty()).collect())
        .collect()
}

#[test]
fn every_message_on_the_page_is_one_that_the_program_prints() -> Result<()> {
    let page = std::fs::read_to_string(repository().join("images/docs/troubleshooting.md"))?;
    let mut all = String::new();
    for folder in ["host", "plugins", "guest-sdk/src"] {
        sources(&repository().join(folder), &mut all)?;
    }
    let messages = quoted(&page);
    assert!(messages.len() >= 25, "{} messages: is the form of the page another one?", messages.len());
    for pieces in messages {
        let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
        assert!(longest >= 12, "too little of {pieces:?} is fixed to be found by");
        for piece in pieces {
            // Inside a string of the source, quotes are escaped.
            let escaped = piece.replace('"', "\\\"");
            assert!(all.contains(piece) || all.contains(&escaped), "no source says {piece:?}");
        }
    }
    Ok(())
}

#[test]
fn what_nobody_prints_is_found_out() {
    let page = "### `the file … cannot be read: …`\n### not quoted\n```\n### `x`";
    assert_eq!(quoted(page), [vec!["the file", "cannot be read:"], vec!["x"]]);
}
