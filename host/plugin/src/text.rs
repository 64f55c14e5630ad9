//! Texts of plugins and servers, made fit for a log line or an error message.

/// `text` with control characters escaped, cut to at most `longest` bytes at a character's boundary.
pub(crate) fn printable(text: &str, longest: usize) -> String {
    const CUT: &str = "…";
    let mut clean = String::with_capacity(text.len().min(longest));
    for c in text.chars() {
        let start = clean.len();
        // Also what changes the direction of text or hides: a name must not be able to disguise itself.
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
        if clean.len() > longest {
            clean.truncate(start);
            while clean.len() + CUT.len() > longest && clean.pop().is_some() {}
            if longest >= CUT.len() {
                clean.push_str(CUT);
            }
            break;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escapes_and_cuts() {
        assert_eq!(printable("plain text", 100), "plain text");
        assert_eq!(printable("a\nb\x1b[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(printable("日本語日本語", 10), "日本…");
        assert_eq!(printable("abcdef", 6), "abcdef");
        for longest in 0..20 {
            assert!(printable("日本\n語日本語", longest).len() <= longest);
        }
    }
}
