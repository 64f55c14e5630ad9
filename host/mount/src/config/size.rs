//! Sizes as people write them.

/// `128MiB`, `128M`, `2G`, `500000`: bytes; K, M, G and T are powers of 1,024, with or without `iB`.
///
/// # Errors
/// A sentence that says how to write it.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" | "ki" => 10,
        "m" | "mib" | "mi" => 20,
        "g" | "gib" | "gi" => 30,
        "t" | "tib" | "ti" => 40,
        _ => 64,
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?))
        .ok_or_else(|| format!("`{text}` is no size; write 512MiB, 20GiB or a number of bytes"))
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn show(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("128MiB", 128 << 20),
            ("128m", 128 << 20),
            ("2 Gi", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "MiB", "-1", "1.5G", "12X", "99999999999T", "18446744073709551616"] {
            assert!(parse(wrong).is_err_and(|message| message.contains("512MiB")), "{wrong}");
        }
    }

    #[test]
    fn shown() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }
}
