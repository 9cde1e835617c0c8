//! HTTP dates in their three formats (RFC 9110 section 5.6.7).

use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::RefCell;
use std::time::SystemTime;

/// Parses a date in any of the three formats.
pub(crate) fn parse(value: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(value).ok()?;
    match ShortYear::read(text) {
        Some(date) => date.within_50_years(SystemTime::now()),
        None => httpdate::parse_http_date(text).ok().or_else(|| parse_leniently(text)),
    }
}

/// A date in the RFC 850 format, whose year has two digits (RFC 9110 section 5.6.7).
struct ShortYear {
    /// For example `06 Nov`.
    day: String,
    year: u64,
    /// For example ` 08:49:37 GMT`.
    time: String,
}

impl ShortYear {
    /// Parses a date in this format; `None` if it has another format.
    fn read(text: &str) -> Option<Self> {
        let (weekday, rest) = text.split_once(", ")?;
        // The other formats abbreviate the weekday.
        let is_weekday = WEEKDAYS.iter().any(|day| day.eq_ignore_ascii_case(weekday));
        if !is_weekday || text.len() > MAX_LENGTH || !text.is_ascii() {
            return None;
        }
        let rest = canonical_case(rest);
        let [_, _, b'-', _, _, _, b'-', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' ', ..] = *rest.as_bytes()
        else {
            return None;
        };
        let year = u64::from(tens - b'0') * 10 + u64::from(ones - b'0');
        let day = format!("{} {}", &rest[..2], &rest[3..6]);
        Some(Self { day, year, time: rest[9..].to_owned() })
    }

    /// Returns the date in the given year; `None` if the year has no such date.
    fn in_year(&self, year: u64) -> Option<SystemTime> {
        parse_without_weekday(&format!(", {} {year:04}{}", self.day, self.time))
    }

    /// Returns the date in the century of `now`. If that date is more than 50 years after `now`,
    /// returns the date in the previous century.
    fn within_50_years(&self, now: SystemTime) -> Option<SystemTime> {
        now.duration_since(SystemTime::UNIX_EPOCH).ok().filter(|since| since.as_secs() < YEAR_10000)?;
        // For example `Sun, 06 Nov 1994 08:49:37 GMT`.
        let text = httpdate::fmt_http_date(now);
        let today = Self {
            day: text[5..11].to_owned(),
            year: text[12..16].parse().ok()?,
            time: text[16..].to_owned(),
        };
        let (year, limit) = (today.year - today.year % 100 + self.year, today.year + 50);
        // Compares month, day and time. Both dates exist in 2000, a leap year.
        let is_later = self.in_year(2000)? > today.in_year(2000)?;
        let is_past = year > limit || (year == limit && is_later);
        self.in_year(if is_past { year - 100 } else { year })
    }
}

/// Parses the text after the weekday of a date.
fn parse_without_weekday(rest: &str) -> Option<SystemTime> {
    WEEKDAYS.iter().find_map(|day| httpdate::parse_http_date(&format!("{}{rest}", &day[..3])).ok())
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The maximum length of a date in bytes.
const MAX_LENGTH: usize = 40;

/// Parses a date whose weekday has three letters. Ignores letter case (RFC 9111 section 4.2) and a
/// wrong weekday (RFC 9110 section 5.6.7, "encouraged to be robust").
fn parse_leniently(text: &str) -> Option<SystemTime> {
    if text.len() > MAX_LENGTH || !text.is_ascii() {
        return None;
    }
    let (given, rest) = text.split_at(text.find([',', ' '])?);
    let is_weekday = WEEKDAYS.iter().any(|day| day[..3].eq_ignore_ascii_case(given));
    is_weekday.then(|| parse_without_weekday(&canonical_case(rest))).flatten()
}

/// Returns the text with month names and the time zone in their defined case.
fn canonical_case(text: &str) -> String {
    let mut after_letter = false;
    let text = text.chars().map(|char| {
        let char = if after_letter { char.to_ascii_lowercase() } else { char.to_ascii_uppercase() };
        after_letter = char.is_ascii_alphabetic();
        char
    });
    let text: String = text.collect();
    match text.strip_suffix("Gmt") {
        Some(before) => format!("{before}GMT"),
        None => text,
    }
}

/// The date in a field such as `Date` or `Expires`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldDate {
    /// The field is absent.
    Absent,
    /// The date cannot be parsed, or the lines of the field differ.
    Invalid,
    /// The field contains this date.
    At(SystemTime),
}

/// Returns the date in a field.
pub(crate) fn field_date(headers: &HeaderMap, name: &HeaderName) -> FieldDate {
    let mut lines = headers.get_all(name).into_iter();
    let Some(first) = lines.next() else { return FieldDate::Absent };
    if lines.any(|line| line != first) {
        return FieldDate::Invalid;
    }
    parse(first.as_bytes()).map_or(FieldDate::Invalid, FieldDate::At)
}

thread_local! {
    /// The last date that this thread formatted, with its seconds since the epoch.
    static LAST_DATE: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The seconds from the epoch to the year 10000. HTTP dates have only four digits for the year.
const YEAR_10000: u64 = 253_402_300_800;

/// Formats a date. Returns `None` for a date before 1970 or after 9999.
pub(crate) fn format(at: SystemTime) -> Option<HeaderValue> {
    let second = at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    if second >= YEAR_10000 {
        return None;
    }
    let known = |last: &Option<(u64, HeaderValue)>| match last {
        Some((of, date)) if *of == second => Some(date.clone()),
        _ => None,
    };
    // Thread-local values are unavailable while their thread ends.
    if let Ok(Some(date)) = LAST_DATE.try_with(|last| known(&last.borrow())) {
        return Some(date);
    }
    let date = HeaderValue::try_from(httpdate::fmt_http_date(at)).ok()?;
    let _ = LAST_DATE.try_with(|last| last.replace(Some((second, date.clone()))));
    Some(date)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{FieldDate, ShortYear, field_date, parse};
    use http::header::DATE;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::time::{Duration, UNIX_EPOCH};

    const EXAMPLE: u64 = 784_111_777;

    /// RFC 9110 section 5.6.7.
    #[test]
    fn all_three_formats_are_read() {
        let expected = Some(UNIX_EPOCH + Duration::from_secs(EXAMPLE));
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    /// RFC 9111 section 4.2: "a cache recipient SHOULD match the field value case-insensitively".
    #[test]
    fn letter_case_and_a_wrong_weekday_are_ignored() {
        let expected = Some(UNIX_EPOCH + Duration::from_secs(EXAMPLE));
        for text in [
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "sun, 06 Nov 1994 08:49:37 gMt",
            "SUNDAY, 06-nov-94 08:49:37 gmt",
            "sun nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Friday, 06-Nov-94 08:49:37 GMT",
            "thu Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    /// RFC 9110 section 5.6.7: "MUST interpret a timestamp that appears to be more than 50 years in
    /// the future as representing the most recent year in the past that had the same last two
    /// digits".
    #[test]
    fn two_digit_year_is_at_most_fifty_years_ahead() {
        let now = parse(b"Mon, 30 Nov 2026 09:40:16 GMT").expect("a date");
        for (text, year) in [
            ("Monday, 30-Nov-26 09:40:16 GMT", 2026),
            ("Monday, 30-Nov-69 09:40:16 GMT", 2069),
            ("Monday, 30-Nov-70 09:40:16 GMT", 2070),
            ("Monday, 30-Nov-75 09:40:16 GMT", 2075),
            ("Monday, 30-Nov-76 09:40:16 GMT", 2076),
            ("Monday, 30-Nov-76 09:40:17 GMT", 1976),
            ("monday, 01-dec-76 00:00:00 gmt", 1976),
            ("Monday, 29-Feb-76 09:40:16 GMT", 2076),
            ("Monday, 01-Jan-77 00:00:00 GMT", 1977),
            ("Monday, 30-Nov-99 09:40:16 GMT", 1999),
            ("Monday, 30-Nov-00 09:40:16 GMT", 2000),
        ] {
            let expected = format!("{} {year}{}", text[8..14].replace('-', " "), &text[17..]);
            let expected = super::parse_leniently(&format!("Mon, {expected}")).expect("a date");
            let read = ShortYear::read(text).expect("a year of two digits").within_50_years(now);
            assert_eq!(read, Some(expected), "{text}");
        }
        for text in ["Monday, 31-Feb-26 09:40:16 GMT", "Monday, 29-Feb-27 09:40:16 GMT"] {
            assert_eq!(ShortYear::read(text).and_then(|date| date.within_50_years(now)), None, "{text}");
        }
    }

    /// RFC 9111 section 5.3: "MUST interpret invalid date formats, especially the value "0", as
    /// representing a time in the past". `parse` returns `None`, and its callers apply this rule.
    #[test]
    fn malformed_dates_are_rejected() {
        let cases: [&[u8]; 17] = [
            b"",
            b"0",
            b"-1",
            b"Sun, 31 Feb 1994 08:49:37 GMT",
            b"Day, 06 Nov 1994 08:49:37 GMT",
            b"Mond, 06 Nov 1994 08:49:37 GMT",
            b", 06 Nov 1994 08:49:37 GMT",
            b"Sun 06 Nov 1994 08:49:37 GMT",
            b"Sun, 06-Nov-1994 08:49:37 GMT",
            b"Sun, 06 Nov 94 08:49:37 GMT",
            b"Sun, 06 Nov 1994 8:49:37 GMT",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1994 08:49:37 PST",
            b"Sun, 06 Nov 1994 25:49:37 GMT",
            b"Sun, 00 Nov 1994 08:49:37 GMT",
            b"Thu, 01 Jan 0000 00:00:00 GMT",
            b"Sun, 06 Nov 1994 08:49:37 GM\xff",
        ];
        for text in cases {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    /// RFC 9110 section 5.3: a field that is not a list occurs once.
    #[test]
    fn differing_lines_are_invalid() {
        let (one, other) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT");
        let at = FieldDate::At(UNIX_EPOCH + Duration::from_secs(EXAMPLE));
        assert_eq!(field_date(&headers(&[]), &DATE), FieldDate::Absent);
        assert_eq!(field_date(&headers(&[("date", one)]), &DATE), at);
        assert_eq!(field_date(&headers(&[("date", one), ("date", one)]), &DATE), at);
        assert_eq!(field_date(&headers(&[("date", one), ("date", other)]), &DATE), FieldDate::Invalid);
        assert_eq!(field_date(&headers(&[("date", one), ("date", "")]), &DATE), FieldDate::Invalid);
        assert_eq!(field_date(&headers(&[("date", "0")]), &DATE), FieldDate::Invalid);
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_bytes_parse_without_a_panic(value in any::<Vec<u8>>(), headers in field("date")) {
            let _ = parse(&value);
            let _ = field_date(&headers, &DATE);
        }

        #[test]
        fn one_wrong_byte_anywhere_does_not_panic(format in 0..3_usize, at in 0..40_usize, byte in any::<u8>()) {
            let formats =
                ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
            let mut text = formats[format].as_bytes().to_vec();
            let at = at % text.len();
            text[at] = byte;
            let _ = parse(&text);
            let _ = parse(&text[..at]);
        }

        #[test]
        fn formatted_date_is_parsed_back(seconds in 0..253_402_300_800_u64) {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert_eq!(parse(httpdate::fmt_http_date(at).as_bytes()), Some(at));
        }
    }
}
