//! "Did you mean …?"

/// The known name nearest to what somebody wrote, if it is near enough to be worth a line.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
    let wanted = plain(written);
    known
        .map(|name| (strsim::jaro_winkler(&wanted, &plain(name)), name))
        // Below this, words that merely begin alike are suggested.
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["endpoint", "access-key", "secret-key", "path-style"];
        let near = |text| nearest(text, known.into_iter());
        assert_eq!(near("endpiont"), Some("endpoint"));
        assert_eq!(near("ACCESS_KEY"), Some("access-key"));
        assert_eq!(near("secretkey"), Some("secret-key"));
        assert_eq!(near("juicefs"), None);
    }
}
