//! The two forms of a date in Signature Version 4.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC, as `20130524` and `20130524T000000Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) day: String,
    pub(super) full: String,
}

/// The present.
pub(super) fn now() -> Date {
    at(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// The moment this many seconds after 1970-01-01T00:00:00Z.
pub(super) fn at(seconds: u64) -> Date {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    let day = format!("{year:04}{month:02}{day:02}");
    let full = format!("{day}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60);
    Date { day, full }
}

/// Days since 1970-01-01 to a date of the Gregorian calendar, counting years from March, so that the leap day
/// comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn known_moments() {
        assert_eq!(at(0).full, "19700101T000000Z");
        assert_eq!(at(1_369_353_600).full, "20130524T000000Z");
        assert_eq!(at(951_782_399).full, "20000228T235959Z");
        assert_eq!(at(951_782_400).day, "20000229");
        assert_eq!(at(4_107_542_400).day, "21000301");
    }
}
