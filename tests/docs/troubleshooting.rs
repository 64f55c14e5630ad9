//! The troubleshooting page is keyed by what the program prints; each of its keys must still be printed by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use wasmount_tests::paths::repository;

/// What the program could print: the string literals of sources, without those of tests and comments.
#[derive(Default)]
struct Literals {
    by_file: BTreeMap<PathBuf, Vec<String>>,
    /// Files of modules that are only there for tests.
    of_tests: BTreeSet<PathBuf>,
}

impl Literals {
    /// Those of all sources below a folder.
    fn read(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "tests" {
                self.read(&path)?;
            } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
                self.parse(&path, &std::fs::read_to_string(&path)?)?;
            }
        }
        Ok(())
    }

    fn parse(&mut self, path: &Path, text: &str) -> Result<()> {
        let tokens = text.parse::<TokenStream>().map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let children = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") | None => path.parent().unwrap_or(path).to_owned(),
            Some(_) => path.with_extension(""),
        };
        let mut found = Vec::new();
        self.walk(tokens, &children, &mut found);
        self.by_file.insert(path.to_owned(), found);
        Ok(())
    }

    fn walk(&mut self, tokens: TokenStream, children: &Path, found: &mut Vec<String>) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let mark = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '!');
                    let _inner = tokens.next_if(mark);
                    let brackets = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket);
                    let Some(TokenTree::Group(attribute)) = tokens.next_if(brackets) else { continue };
                    match Attribute::of(&attribute.stream()) {
                        Attribute::Comment => {}
                        Attribute::Test => {
                            if let Some(module) = skip_item(&mut tokens) {
                                self.of_tests.insert(children.join(format!("{module}.rs")));
                            }
                        }
                        // `#[error("…")]`
                        Attribute::Other => self.walk(attribute.stream(), children, found),
                    }
                }
                TokenTree::Group(group) => self.walk(group.stream(), children, found),
                TokenTree::Literal(literal) => {
                    if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                        found.push(text.value());
                    }
                }
                TokenTree::Punct(_) | TokenTree::Ident(_) => {}
            }
        }
    }

    /// Whether one literal has all of these pieces, in this order.
    fn have(&self, pieces: &[&str]) -> bool {
        let in_order = |literal: &String| {
            let rest =
                pieces.iter().try_fold(literal.as_str(), |rest, piece| Some(rest.split_once(piece)?.1));
            rest.is_some()
        };
        let files = self.by_file.iter().filter(|(path, _)| !self.of_tests.contains(*path));
        files.flat_map(|(_, literals)| literals).any(in_order)
    }
}

/// What an attribute means here.
enum Attribute {
    /// `///`, as the compiler sees it.
    Comment,
    /// What follows is compiled for tests alone.
    Test,
    Other,
}

impl Attribute {
    fn of(tokens: &TokenStream) -> Self {
        let text: String = tokens.to_string().split_whitespace().collect();
        match text.as_str() {
            "test" => Self::Test,
            text if text.starts_with("doc=") => Self::Comment,
            text if text.starts_with("cfg(") && text.contains("test") && !text.contains("not(") => Self::Test,
            _ => Self::Other,
        }
    }
}

/// Goes past an item; returns its name if it is a module in a file of its own.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) -> Option<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(word) => words.push(word.to_string()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return None,
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            _ => {}
        }
    }
    let module = words.iter().rev().nth(1).is_some_and(|word| word == "mod");
    words.pop().filter(|_| module)
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
    let mut literals = Literals::default();
    for folder in ["host", "plugins", "guest-sdk/src"] {
        literals.read(&repository().join(folder))?;
    }
    let messages = quoted(&page);
    assert!(messages.len() >= 25, "{} messages: is the form of the page another one?", messages.len());
    for pieces in messages {
        let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
        assert!(longest >= 12, "too little of {pieces:?} is fixed to be found by");
        assert!(literals.have(&pieces), "no message of the program has {pieces:?}, in this order");
    }
    Ok(())
}

#[test]
fn what_nobody_prints_is_found_out() -> Result<()> {
    let page = "### `the file … cannot be read: …`\n### not quoted\n```\n### `x`";
    assert_eq!(quoted(page), [vec!["the file", "cannot be read:"], vec!["x"]]);

    let mut literals = Literals::default();
    let source = r###"
        //! "of the module"
        /// "of the item"
        #[error("of an attribute: {0}")]
        fn printed() {
            // "of a line"
            call!(format!("goes on \
                here, then \"quoted\" {x}"), r#"raw"#, 'c', "first");
        }
        #[cfg(test)]
        use fake::fixture;
        #[cfg(test)]
        pub(crate) mod fake;
        mod true_one;
        #[test]
        fn checks() -> Result<()> { "of a test" }
        const AFTER: &str = "after tests";
        #[cfg(test)]
        mod tests { fn name() { "of tests" } }
    "###;
    literals.parse(Path::new("a/part.rs"), source)?;
    literals.parse(Path::new("a/part/fake.rs"), r#"const A: &str = "of a fake";"#)?;
    literals.parse(Path::new("a/part/true_one.rs"), r#"const B: &str = "of another file";"#)?;
    for there in [
        &["of an attribute:"][..],
        &["goes on here", "then \"quoted\""],
        &["raw"],
        &["first"],
        &["after tests"],
        &["of another file"],
    ] {
        assert!(literals.have(there), "{there:?}");
    }
    for not_there in [
        &["of the module"][..],
        &["of the item"],
        &["of a line"],
        &["of a test"],
        &["of tests"],
        &["of a fake"],
        // Of two messages, and in another order.
        &["goes on", "first"],
        &["quoted", "goes on"],
    ] {
        assert!(!literals.have(not_there), "{not_there:?}");
    }
    Ok(())
}
