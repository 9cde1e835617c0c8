//! The durations in a policy table.

use super::fields::FieldValue;
use crate::policy::Ttl;
use std::time::Duration;

/// The units of a duration, in milliseconds. `ms` comes before `s`: the first unit that ends the
/// text applies, and `ms` ends with `s`.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 3600 * 1000), ("d", 24 * 3600 * 1000)];

/// Reads a duration: a number of seconds, or a number with a unit.
///
/// # Errors
/// Returns a description of what is expected.
pub(super) fn duration(value: &FieldValue) -> Result<Duration, &'static str> {
    let read = match value {
        FieldValue::Number(seconds) => Some(Duration::from_secs(*seconds)),
        FieldValue::Text(text) => with_unit(text),
        FieldValue::Flag(_) | FieldValue::Other => None,
    };
    read.ok_or("expected a number of seconds, or a string such as \"90s\", \"10m\" or \"2h\"")
}

/// Reads a lifetime: a [`duration`], or `forever`.
///
/// # Errors
/// Returns a description of what is expected.
pub(super) fn ttl(value: &FieldValue) -> Result<Ttl, &'static str> {
    match value {
        FieldValue::Text(text) if text == "forever" => Ok(Ttl::Forever),
        value => {
            let read = duration(value).map(Ttl::For);
            read.map_err(|_| "expected a number of seconds, a string such as \"10m\", or \"forever\"")
        }
    }
}

fn with_unit(text: &str) -> Option<Duration> {
    let (digits, unit) = UNITS.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)))?;
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_millis)
}
