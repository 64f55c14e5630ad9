//! Numbers for people.

use std::time::Duration;

/// Three digits and a unit: `12.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", digits(value))
}

/// Three digits and a unit, `12.3ms`; from two minutes on `3m20s`, from two hours on `5h12m`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 2 * 3600 {
        return format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
    }
    if seconds >= 120 {
        return format!("{}m{:02}s", seconds / 60, seconds % 60);
    }
    let nanos = time.as_nanos() as f64;
    match nanos {
        ..1e3 => format!("{nanos}ns"),
        ..1e6 => format!("{}us", digits(nanos / 1e3)),
        ..1e9 => format!("{}ms", digits(nanos / 1e6)),
        _ => format!("{}s", digits(nanos / 1e9)),
    }
}

/// A whole number with commas: `1,234,567`.
pub(crate) fn count(count: u64) -> String {
    let plain = count.to_string();
    let mut out = String::with_capacity(plain.len() + plain.len() / 3);
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (12_900, "12.6 KiB"),
            (1 << 20, "1.00 MiB"),
            (1_047_552, "1.00 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), want);
        }
        for (nanos, want) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00us"),
            (12_345_678, "12.3ms"),
            (59_994_000_000, "60.0s"),
            (119_999_000_000, "120s"),
            (200_000_000_000, "3m20s"),
            (18_720_000_000_000, "5h12m"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), want);
        }
        for (number, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), want);
        }
    }
}
