//! Empty bodies for requests that the cache itself makes.

use bytes::Bytes;
use http_body_util::{Empty, Full, combinators};
use std::any::Any;
use std::convert::Infallible;

/// Returns an empty request body of type `B`, or `None` if this crate can't create one.
pub(crate) fn empty<B: 'static>() -> Option<B> {
    #[cfg(feature = "axum")]
    if let Some(body) = as_type::<axum::body::Body, B>() {
        return Some(body);
    }
    as_type::<Full<Bytes>, B>()
        .or_else(as_type::<Empty<Bytes>, B>)
        .or_else(as_type::<String, B>)
        .or_else(as_type::<combinators::BoxBody<Bytes, Infallible>, B>)
        .or_else(as_type::<combinators::BoxBody<Bytes, crate::error::BoxError>, B>)
        .or_else(as_type::<combinators::UnsyncBoxBody<Bytes, Infallible>, B>)
        .or_else(as_type::<combinators::UnsyncBoxBody<Bytes, crate::error::BoxError>, B>)
}

fn as_type<T: Default + 'static, B: 'static>() -> Option<B> {
    let mut made = Some(T::default());
    let made: &mut dyn Any = &mut made;
    made.downcast_mut::<Option<B>>()?.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body;

    #[test]
    fn only_known_types_have_an_empty_body() {
        assert!(empty::<Full<Bytes>>().is_some_and(|body| body.is_end_stream()));
        assert!(empty::<Empty<Bytes>>().is_some_and(|body| body.is_end_stream()));
        assert!(empty::<hyper::body::Incoming>().is_none());
    }
}
