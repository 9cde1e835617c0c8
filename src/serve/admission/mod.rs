//! Admission: decides whether a response may be stored (RFC 9111 section 3), and for how long.

mod candidate;
mod exchange;
mod freshness;
mod recipient;
mod tags;

use super::config::LayerConfig;
use crate::status::Detail;
use candidate::Candidate;
pub(super) use exchange::{Admission, Exchange};
pub(super) use freshness::fresh_again_until;
use http::response;
use http_body::Body;
pub(super) use tags::{scopes_of, tags};

/// Decides by the head of a response whether it may be stored.
///
/// # Errors
/// Returns the reason why the response is not stored.
pub(super) fn admit(
    config: &LayerConfig,
    exchange: &Exchange<'_>,
    response: &response::Parts,
) -> Result<Admission, Detail> {
    Candidate::new(config, exchange, response).admit()
}

/// Checks the size hint of a body against the size limit and the declared length.
///
/// # Errors
/// Returns `TooLarge` or `ContentLength`.
pub(super) fn body_fits<B: Body>(body: &B, admission: &Admission) -> Result<(), Detail> {
    let size = body.size_hint();
    if size.lower() > admission.limit {
        return Err(Detail::TooLarge);
    }
    match size.exact().zip(admission.declared) {
        Some((size, declared)) if size != declared => Err(Detail::ContentLength),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Generation, Head, StoredResponse};
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::time::Duration;

    /// RFC 9110 section 8.6: a `Content-Length` that differs from the length of the content is an
    /// error.
    #[test]
    fn body_fits_the_declared_length_and_the_limit() {
        let known = |length| Full::new(Bytes::from(vec![0; length])).boxed();
        let unknown = || {
            BodyExt::boxed(StreamBody::new(
                futures_util::stream::empty::<Result<_, std::convert::Infallible>>(),
            ))
        };
        let table = [
            (known(3), None, 3, Ok(())),
            (known(3), Some(3), 3, Ok(())),
            (known(3), Some(2), 3, Err(Detail::ContentLength)),
            (known(3), Some(4), 9, Err(Detail::ContentLength)),
            (known(4), None, 3, Err(Detail::TooLarge)),
            (known(4), Some(3), 3, Err(Detail::TooLarge)),
            (unknown(), Some(3), 3, Ok(())),
            (unknown(), None, 0, Ok(())),
        ];
        for (row, (body, declared, limit, expected)) in table.into_iter().enumerate() {
            let now = crate::clock::Clock::system().now();
            let head = Head::new(StatusCode::OK, HeaderMap::new(), Generation::new(1, 0), now);
            let stored = StoredResponse::new(head, Bytes::new());
            let (retention, client_control) = (Duration::ZERO, Default::default());
            let admission = Admission { stored, declared, limit, retention, client_control };
            assert_eq!(body_fits(&body, &admission), expected, "row {row}");
        }
    }
}
