//! Field values of `Age` (RFC 9111 section 5.1).

use http::HeaderValue;
use std::sync::LazyLock;

/// The number of ages, from zero seconds on, whose field values are created only once. For these
/// ages, a hit allocates nothing.
const SMALL_AGES: u64 = 4096;

static SMALL_AGE_VALUES: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    (0..SMALL_AGES).map(|age| HeaderValue::from_static(Box::leak(age.to_string().into_boxed_str()))).collect()
});

/// Returns the field value for an age in seconds.
#[inline]
pub(super) fn age_value(age: u64) -> HeaderValue {
    if age < SMALL_AGES {
        SMALL_AGE_VALUES[age as usize].clone()
    } else {
        // RFC 9111 section 1.2.2: an age above 2^31 is sent as 2^31.
        HeaderValue::from(age.min(1 << 31))
    }
}
