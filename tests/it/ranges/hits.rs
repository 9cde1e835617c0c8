//! Range requests answered from the cache.

use crate::support::rfc9111::{proxy, standing};
use crate::support::selected::{DIGESTED, digests, selecting};
use crate::support::*;

/// RFC 9110 section 15.3.7.2.
#[tokio::test]
async fn multipart_byteranges_have_no_content_range_field() {
    let (stack, ..) = standing(proxy(), |_, _| {
        with_lines(
            &[("cache-control", "max-age=60"), ("content-range", "bytes 0-999/1000")],
            vec![b'x'; 1000],
        )
    });
    send(&stack, get("/")).await;
    let answer = send(&stack, get_with("/", &[("range", "bytes=0-0,900-901")])).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-range")), (206, None));
}

type Lines = &'static [(&'static str, &'static str)];
const DIGESTS: [&str; 3] = ["content-digest", "content-md5", "repr-digest"];

/// RFC 9110 sections 14.1.2 and 14.2.
#[tokio::test]
async fn a_range_from_the_start_of_an_empty_page_is_the_whole_page() {
    for lines in [&[][..], &[("content-length", "0")], &[("etag", "\"a\"")]] {
        for (by, stack) in selecting(lines, "").await {
            for value in ["bytes=-5", "bytes=0-", "bytes=0-99", "bytes=9-, -1", "BYTES=0-0"] {
                let answer = send(&stack, get_with("/", &[("range", value)])).await;
                let range = answer.header("content-range");
                assert_eq!((answer.status.as_u16(), range), (200, None), "{by}: {value}");
            }
            for value in ["bytes=-0", "bytes=1-", "bytes=5-9"] {
                let answer = send(&stack, get_with("/", &[("range", value)])).await;
                let range = answer.header("content-range");
                assert_eq!((answer.status.as_u16(), range), (416, Some("bytes */0")), "{by}: {value}");
            }
        }
    }
}

/// RFC 9530 sections 2 and 3: `Content-Digest` is of the content of one message, `Repr-Digest` of the representation.
#[tokio::test]
async fn only_the_whole_content_carries_its_digest() {
    for (by, stack) in selecting(DIGESTED, "0123456789").await {
        let table: [(Lines, u16, [bool; 3]); 6] = [
            (&[], 200, [true; 3]),
            (&[("range", "bytes=1-2")], 206, [false, false, true]),
            (&[("range", "bytes=0-0,-1")], 206, [false, false, true]),
            (&[("range", "bytes=10-")], 416, [false; 3]),
            (&[("if-none-match", "\"a\"")], 304, [false; 3]),
            (&[("if-match", "\"b\"")], 412, [false; 3]),
        ];
        for (conditions, status, expected) in table {
            let answer = send(&stack, get_with("/", conditions)).await;
            assert_eq!(
                (answer.status.as_u16(), digests(&answer)),
                (status, expected),
                "{by}: {conditions:?}"
            );
        }
    }
}
