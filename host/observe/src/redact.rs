//! Keeps secrets out of lines that are about to be written.
//!
//! This is the last gate: whoever logs a secret by mistake, the line leaves the process without it.

use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use tracing_subscriber::fmt::MakeWriter;

/// Replaces whatever must not be seen in a text.
pub type Redact = Arc<dyn Fn(&str) -> Cow<'_, str> + Send + Sync>;

/// How a line spells the texts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As they are, or as Rust's `Debug` writes them: fields are written so.
    Plain,
    /// As JSON strings, where a secret with a quote or a backslash no longer looks like itself.
    Json,
}

/// Makes a writer for each line.
#[derive(Clone)]
pub(crate) struct RedactingWriter<W> {
    inner: W,
    redact: Redact,
    spelling: Spelling,
}

impl<W> RedactingWriter<W> {
    pub(crate) fn new(inner: W, redact: Redact, spelling: Spelling) -> Self {
        Self { inner, redact, spelling }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for RedactingWriter<W> {
    type Writer = Line<'a, W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { inner: self.inner.make_writer(), redact: &self.redact, spelling: self.spelling }
    }
}

/// Gets one formatted line, in one piece.
pub(crate) struct Line<'a, W> {
    inner: W,
    redact: &'a Redact,
    spelling: Spelling,
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let clean = clean(&text, self.redact, self.spelling);
        // A line that cannot be written is lost, and nothing else: whoever read the log may be gone, and the subscriber would
        // report this error with `eprintln!`, which panics for the same reason.
        let _ = self.inner.write_all(clean.as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn clean<'a>(text: &'a str, redact: &'a Redact, spelling: Spelling) -> Cow<'a, str> {
    // Only what had to be escaped can hide a secret; all other lines are searched as they are.
    if text.contains('\\') {
        if spelling == Spelling::Json
            && let Ok(mut value) = serde_json::from_str::<Value>(text)
        {
            redact_json(&mut value, redact);
            return Cow::Owned(format!("{value}\n"));
        }
        let plain = unescape(text);
        if redact(&plain) != plain {
            return Cow::Owned(redact(&plain).into_owned());
        }
    }
    redact(text)
}

/// Undoes what `Debug` does to a text (`char::escape_debug`).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (plain, taken) = match after.chars().next() {
            Some('n') => ('\n', 1),
            Some('r') => ('\r', 1),
            Some('t') => ('\t', 1),
            Some('0') => ('\0', 1),
            Some(sign @ ('\\' | '"' | '\'')) => (sign, 1),
            Some('u') => unescape_code(after).unwrap_or(('\\', 0)),
            _ => ('\\', 0),
        };
        out.push(plain);
        rest = after.get(taken..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

/// `u{1f}` at the beginning of a text: the character, and how many bytes it is written in.
fn unescape_code(text: &str) -> Option<(char, usize)> {
    let (digits, _) = text.strip_prefix("u{")?.split_once('}')?;
    let code = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((code, digits.len() + 3))
}

/// Replaces in every text of a value, keys included, what must not be seen. Written as JSON, a secret with a quote, a backslash or the end of a line no
/// longer looks like itself, so it has to be looked for before.
pub fn redact_json(value: &mut Value, redact: &Redact) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(clean) = redact(text) {
                *text = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact_json(item, redact)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| redact_json(field, redact));
            if fields.keys().any(|key| matches!(redact(key), Cow::Owned(_))) {
                let all = std::mem::take(fields);
                *fields = all.into_iter().map(|(key, field)| (redact(&key).into_owned(), field)).collect();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hide(secret: &'static str) -> Redact {
        Arc::new(move |text| match text.contains(secret) {
            true => Cow::Owned(text.replace(secret, "[redacted]")),
            false => Cow::Borrowed(text),
        })
    }

    #[test]
    fn a_secret_that_json_escapes_is_found() {
        let redact = hide("pa\"ss\\word");
        let line =
            format!("{}\n", serde_json::json!({"fields": {"message": "key pa\"ss\\word refused"}, "n": [1]}));
        let clean = clean(&line, &redact, Spelling::Json);
        assert!(!clean.contains("word"), "{clean}");
        let parsed: Value = serde_json::from_str(&clean).unwrap();
        assert_eq!(parsed["fields"]["message"], "key [redacted] refused");
        assert!(clean.ends_with('\n'));
    }

    #[test]
    fn keys_are_texts_too() {
        let mut value = serde_json::json!({"a": [{"x": "pa\"ss"}], "b pa\"ss c": 1, "d": null});
        redact_json(&mut value, &hide("pa\"ss"));
        let clean = serde_json::json!({"a": [{"x": "[redacted]"}], "b [redacted] c": 1, "d": null});
        assert_eq!(value, clean);
    }

    #[test]
    fn a_secret_that_debug_escapes_is_found() {
        let secret = "pa\"ss\\wo\nrd\u{1}end";
        let redact = hide("pa\"ss\\wo\nrd\u{1}end");
        for line in [format!("key={secret:?} refused\n"), format!("{:?} refused\n", Some(secret))] {
            let clean = clean(&line, &redact, Spelling::Plain);
            assert!(clean.contains("[redacted]") && !clean.contains("end"), "{clean}");
        }
        let path = "C:\\new \\u{zz} \\x \\";
        assert_eq!(clean(path, &redact, Spelling::Plain), path, "what hides no secret stays as it is");
    }

    #[test]
    fn a_log_that_nobody_reads_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let redact = hide("x");
        let mut line = Line { inner: Closed, redact: &redact, spelling: Spelling::Plain };
        line.write_all(b"text\n").unwrap();
    }

    #[test]
    fn plain_lines() {
        let redact = hide("hunter2");
        assert_eq!(clean("a hunter2 b\n", &redact, Spelling::Plain), "a [redacted] b\n");
        assert_eq!(clean("nothing here\n", &redact, Spelling::Json), "nothing here\n");
    }

    #[test]
    fn through_a_subscriber() {
        use std::sync::Mutex;
        for spelling in [Spelling::Plain, Spelling::Json] {
            let out = Arc::new(Mutex::new(Vec::new()));
            let sink = out.clone();
            let make = move || Sink(sink.clone());
            let writer = RedactingWriter::new(make, hide("hunter2"), spelling);
            let builder = tracing_subscriber::fmt().with_writer(writer).with_ansi(false);
            let log = || tracing::warn!(key = "hunter2", "the key is {}", "hunter2");
            match spelling {
                Spelling::Plain => tracing::subscriber::with_default(builder.finish(), log),
                Spelling::Json => tracing::subscriber::with_default(builder.json().finish(), log),
            }
            let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches("[redacted]").count(), 2, "{text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }

    struct Sink(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
