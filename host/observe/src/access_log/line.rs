//! How a line of the access log looks: columns with one blank between them, so that `awk` can take them apart.

use crate::words::{Blamed, RESULTS, result_index};
use std::fmt::Write;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use wasmount_core::ports::Operation;

/// The first line that a reader gets.
pub(crate) const HEADER: &str = "# time op path handle offset size given result seconds blame pid uid\n";

/// The line for an operation that has just ended, on a node of which `path` is known.
pub(crate) fn format(operation: &Operation<'_>, path: Option<&str>, blamed: Blamed) -> String {
    let mut line = String::with_capacity(160);
    // Neither the clock nor a `String` fails.
    let _ = SystemTime.format_time(&mut Writer::new(&mut line));
    let _ = write!(line, " {} ", operation.op);
    match path {
        Some(path) => {
            line.push('/');
            escape(&mut line, path.as_bytes());
        }
        None => {
            let _ = write!(line, "<{}>", operation.ino);
        }
    }
    if let Some(name) = operation.name {
        if path != Some("") {
            line.push('/');
        }
        escape(&mut line, name);
    }
    match operation.fh {
        Some(fh) => {
            let _ = write!(line, " {}", fh.0);
        }
        None => line.push_str(" -"),
    }
    if operation.op == "read" {
        let _ = write!(line, " {} {} {}", operation.offset, operation.size, operation.given);
    } else {
        line.push_str(" - - -");
    }
    let result = RESULTS[result_index(operation.error.map(|(kind, _)| kind))];
    let seconds = operation.latency.as_secs_f64();
    let _ = writeln!(
        line,
        " {result} {seconds:.6} {} {} {}",
        blamed.name(),
        operation.ctx.pid,
        operation.ctx.uid
    );
    line
}

/// Appends a name that may be any bytes, so that it contains no blank and nothing that a terminal acts upon: blanks and bytes that are
/// no UTF-8 become `\x..`, what cannot be seen becomes `\u{..}` or the like, a backslash is doubled.
pub(crate) fn escape(out: &mut String, name: &[u8]) {
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '!'..='~' => out.push(c),
                '\u{a0}'.. => out.extend(c.escape_debug()),
                _ => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(name: &[u8]) -> String {
        let mut out = String::new();
        escape(&mut out, name);
        out
    }

    #[test]
    fn names_can_be_any_bytes() {
        assert_eq!(escaped(b"dir/plain-1.bin"), "dir/plain-1.bin");
        assert_eq!(escaped("ü/日本".as_bytes()), "ü/日本");
        assert_eq!(escaped(b"a b\tc\nd\\e\x1b[2J"), "a\\x20b\\x09c\\x0ad\\\\e\\x1b[2J");
        assert_eq!(escaped(b"\xff\xc3("), "\\xff\\xc3(");
        // A right-to-left override, a no-break space, a C1 control.
        assert_eq!(escaped("\u{202e}\u{a0}\u{9b}".as_bytes()), "\\u{202e}\\u{a0}\\x9b");
    }

    #[test]
    fn any_bytes_become_one_visible_word_and_no_two_names_the_same() {
        let mut seen = std::collections::BTreeMap::new();
        for a in 0..=255_u8 {
            for b in 0..=255_u8 {
                let word = escaped(&[a, b]);
                assert!(!word.chars().any(|c| c.is_whitespace() || c.is_control()), "{word:?}");
                if let Some(other) = seen.insert(word.clone(), [a, b]) {
                    panic!("{word} is {other:?} and {:?}", [a, b]);
                }
            }
        }
    }
}
