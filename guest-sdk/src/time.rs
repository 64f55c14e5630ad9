//! Points in time as text, without a clock: RFC 3339, the dates of HTTP, and the compact form that signatures use.

use crate::bindings::wasmount::plugin::types::Timestamp;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const SECONDS_PER_DAY: i64 = 86_400;

/// A date and a time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1970 and the like.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60: leap seconds are accepted and count as the next second.
    pub second: u32,
}

impl Civil {
    /// The date and time of day at so many seconds since 1970-01-01T00:00:00Z.
    pub fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        let rest = u32::try_from(rest).unwrap_or(0);
        // Days are counted from 1 March of year 0, so that the leap day is the last of its year; 400 years are 146097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: u32::try_from(month).unwrap_or(1),
            day: u32::try_from(day).unwrap_or(1),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z; `None` if there is no such date or time.
    pub fn to_unix(self) -> Option<i64> {
        let valid = (0..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60;
        if !valid {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let month_from_march = i64::from((self.month + 9) % 12);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        let days = era * 146_097 + of_era - 719_468;
        Some(days * SECONDS_PER_DAY + i64::from(self.hour * 3600 + self.minute * 60 + self.second))
    }
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Parses `2009-10-12T17:50:30.000Z` and forms with an offset such as `+02:00` (RFC 3339).
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let (hour, minute, second) = parse_clock(clock)?;
    let civil = Civil {
        year: digits(year, 4)?.into(),
        month: digits(month, 2)?,
        day: digits(day, 2)?,
        hour,
        minute,
        second,
    };
    Some(Timestamp {
        seconds: civil.to_unix()? - parse_offset(zone)?,
        nanoseconds: parse_fraction(fraction)?,
    })
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`, the form of dates that HTTP servers send (RFC 9110, section 5.6.7).
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let (day, month, year, clock, zone) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    if zone != "GMT" || words.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (hour, minute, second) = parse_clock(clock)?;
    let month = u32::try_from(month).ok()? + 1;
    let civil = Civil { year: digits(year, 4)?.into(), month, day: digits(day, 2)?, hour, minute, second };
    Some(Timestamp { seconds: civil.to_unix()?, nanoseconds: 0 })
}

/// Writes `1994-11-06T08:49:37Z`, without the fraction.
pub fn format_rfc3339(time: Timestamp) -> String {
    let at = Civil::from_unix(time.seconds);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", at.year, at.month, at.day, at.hour, at.minute, at.second)
}

/// Writes `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn format_http_date(time: Timestamp) -> String {
    let at = Civil::from_unix(time.seconds);
    let index = usize::try_from(time.seconds.div_euclid(SECONDS_PER_DAY).rem_euclid(7)).unwrap_or(0);
    let name = DAYS.get(index).copied().unwrap_or_default();
    let month =
        usize::try_from(at.month).ok().and_then(|month| MONTHS.get(month - 1)).copied().unwrap_or_default();
    format!(
        "{name}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        at.day, at.year, at.hour, at.minute, at.second
    )
}

/// Writes `19941106T084937Z`, the basic form of ISO 8601. The first eight characters are the date.
pub fn format_basic(time: Timestamp) -> String {
    let at = Civil::from_unix(time.seconds);
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", at.year, at.month, at.day, at.hour, at.minute, at.second)
}

fn digits(text: &str, count: usize) -> Option<u32> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn parse_clock(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(':');
    let clock = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    parts.next().is_none().then_some(clock)
}

/// Seconds east of UTC.
fn parse_offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'Z' | b'z' if text.len() == 1 => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

/// Nanoseconds of a decimal fraction; digits beyond the ninth are cut off.
fn parse_fraction(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded: String = text.chars().chain(std::iter::repeat('0')).take(9).collect();
    padded.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanoseconds: 0 }
    }

    fn rfc3339(text: &str) -> Option<(i64, u32)> {
        parse_rfc3339(text).map(|time| (time.seconds, time.nanoseconds))
    }

    #[test]
    fn reads_what_s3_writes() {
        assert_eq!(rfc3339("2009-10-12T17:50:30.000Z"), Some((1_255_369_830, 0)));
        assert_eq!(rfc3339("2009-10-12T17:50:30.5Z"), Some((1_255_369_830, 500_000_000)));
        assert_eq!(rfc3339("2009-10-12T19:50:30+02:00"), Some((1_255_369_830, 0)));
        assert_eq!(rfc3339("2024-02-29T00:00:00Z"), Some((1_709_164_800, 0)));
        assert_eq!(rfc3339("1969-12-31T23:59:59.25Z"), Some((-1, 250_000_000)));
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(|time| time.seconds),
            Some(784_111_777)
        );
    }

    #[test]
    fn refuses_what_is_no_time() {
        for bad in [
            "",
            "2009-10-12",
            "2009-10-12T17:50Z",
            "2009-02-29T00:00:00Z",
            "2009-13-01T00:00:00Z",
            "2009-10-12T24:00:00Z",
            "2009-10-12T17:50:30",
            "2009-10-12T17:50:30.Z",
            "09-10-12T17:50:30Z",
            "2009-10-12T17:50:30+0200",
            "2009-10-12T1:50:30Z",
            "2009-10-12T17:50:30Zulu",
            "２００９-10-12T17:50:30Z",
        ] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
        for bad in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "06 Nov 1994",
        ] {
            assert!(parse_http_date(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn writes_all_forms() {
        assert_eq!(format_rfc3339(at(784_111_777)), "1994-11-06T08:49:37Z");
        assert_eq!(format_http_date(at(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format_http_date(at(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format_basic(at(1_369_353_600)), "20130524T000000Z");
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        let first = Civil { year: 1600, month: 1, day: 1, hour: 12, minute: 0, second: 0 }.to_unix().unwrap();
        for day in 0..365 * 800 {
            let seconds = first + day * SECONDS_PER_DAY;
            assert_eq!(Civil::from_unix(seconds).to_unix(), Some(seconds));
        }
    }
}
