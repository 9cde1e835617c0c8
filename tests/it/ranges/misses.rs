//! Range requests that are forwarded, and partial responses.

use crate::support::rfc9111::{proxy, standing};
use crate::support::*;
use http::StatusCode;

/// RFC 9110 section 14.4: `Content-Range` has no meaning in a 200, but its content may be partial.
#[tokio::test]
async fn a_200_with_content_range_is_not_stored() {
    let (stack, ..) = standing(proxy(), |request, _| match request.headers().contains_key("range") {
        true => with_lines(&[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/10")], "01"),
        false => with_lines(&[("cache-control", "max-age=60")], "0123456789"),
    });
    let part = send(&stack, get_with("/", &[("range", "bytes=0-1")])).await;
    assert_eq!((part.text(), part.detail()), ("01", Some("partial")));
    assert_eq!(send(&stack, get("/")).await.text(), "0123456789");
}

#[tokio::test]
async fn a_range_on_a_cold_key_is_forwarded_and_not_stored() {
    let (stack, calls) = site(policy(), |request, call| {
        let mut response = numbered(&[("etag", "\"a\"")], call);
        if request.headers().contains_key("range") {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert("content-range", "bytes 0-0/1".parse().expect("a value"));
        }
        response
    });
    let range = || get_with("/", &[("range", "bytes=0-0"), ("if-range", "\"a\"")]);
    assert_eq!(send(&stack, range()).await.status, 206);
    assert_eq!(send(&stack, get("/")).await.status, 200);
    assert_eq!((send(&stack, range()).await.status.as_u16(), calls.count()), (206, 2));
}
