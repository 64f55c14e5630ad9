//! Names of images and snapshots ↔ names of files.
//!
//! An image is a file `IMAGE`, each of its snapshots a file `IMAGE@SNAP` beside it. What no file name can hold is written as in a
//! URL, and so is the sign that says so: `/` as `%2F`, NUL as `%00`, `%` as `%25`; in the name of a snapshot also `@` as `%40`, so that the last
//! `@` is the one between the two. The names `.` and `..` become `%2E` and `%2E%2E`.

use wasmount_types::Name;

/// An image, or a snapshot of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// The image.
    pub(super) image: String,
    /// Its snapshot.
    pub(super) snapshot: Option<String>,
}

impl Spec {
    /// The image itself.
    pub(super) fn image(name: &str) -> Self {
        Self { image: name.to_owned(), snapshot: None }
    }

    /// One of its snapshots.
    pub(super) fn snapshot(image: &str, name: &str) -> Self {
        Self { image: image.to_owned(), snapshot: Some(name.to_owned()) }
    }

    /// What a file of this name may stand for, the first that exists: an image whose name has an `@` in it comes before a
    /// snapshot of another.
    pub(super) fn of(text: &str) -> Vec<Self> {
        let mut specs = Vec::with_capacity(2);
        specs.extend(unescaped(text).map(|image| Self { image, snapshot: None }));
        if let Some((image, snapshot)) = text.rsplit_once('@')
            && let (Some(image), Some(snapshot)) = (unescaped(image), unescaped(snapshot))
        {
            specs.push(Self { image, snapshot: Some(snapshot) });
        }
        // One file has one name: `%41` stands for nothing.
        specs.retain(|spec| spec.text() == text);
        specs
    }

    /// The name of its file.
    fn text(&self) -> String {
        let mut text = escaped(&self.image, false);
        if let Some(snapshot) = &self.snapshot {
            text.push('@');
            text.push_str(&escaped(snapshot, true));
        } else if matches!(text.as_str(), "." | "..") {
            text = text.replace('.', "%2E");
        }
        text
    }

    /// The name of its file; `None`: it is too long for one, and the image is hidden.
    pub(super) fn name(&self) -> Option<Name> {
        Name::new(self.text().as_bytes()).ok()
    }
}

fn escaped(text: &str, of_snapshot: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' => escaped.push_str("%2F"),
            '\0' => escaped.push_str("%00"),
            '%' => escaped.push_str("%25"),
            '@' if of_snapshot => escaped.push_str("%40"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// `None` for a text that `escaped` cannot have made, as far as that is easily seen.
fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        plain.push(match code {
            "2F" => '/',
            "00" => '\0',
            "25" => '%',
            "40" => '@',
            "2E" => '.',
            _ => return None,
        });
        plain.push_str(rest);
    }
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_file_and_leads_back() {
        let cases = [
            (Spec::image("disk"), "disk"),
            (Spec::image("a/b\0%"), "a%2Fb%00%25"),
            (Spec::image("."), "%2E"),
            (Spec::image(".."), "%2E%2E"),
            (Spec::image("..."), "..."),
            (Spec::image("a@b"), "a@b"),
            (Spec::image("é@"), "é@"),
            (Spec::snapshot("disk", "s1"), "disk@s1"),
            (Spec::snapshot("a@b", "c"), "a@b@c"),
            (Spec::snapshot("a", "b@c/d"), "a@b%40c%2Fd"),
            (Spec::snapshot(".", "."), ".@."),
        ];
        for (spec, text) in cases {
            assert_eq!(spec.name().unwrap().as_str(), Some(text));
            assert!(Spec::of(text).contains(&spec), "{text}: {:?}", Spec::of(text));
        }
        assert_eq!(Spec::of("a@b"), [Spec::image("a@b"), Spec::snapshot("a", "b")]);
    }

    #[test]
    fn other_spellings_stand_for_nothing() {
        for text in ["%41", "%2f", "a%", "a%4", "%2Ea", "a%2E", "a%40b", "%é"] {
            assert_eq!(Spec::of(text), [], "{text}");
        }
        assert_eq!(Spec::image(&"x".repeat(256)).name(), None);
    }
}
