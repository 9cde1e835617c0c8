//! Range requests answered from the cache.

use crate::support::rfc9111::{proxy, standing};
use crate::support::selected::{DIGESTED, digests, selecting};
use crate::support::*;

/// RFC 9110 section 15.3.7.2: only the parts have a `Content-Range`.
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

/// RFC 9110 sections 14.1.2 and 14.2.
#[tokio::test]
async fn ranges_of_an_empty_page_get_200_or_416() {
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

/// RFC 9530 sections 2 and 3: `Content-Digest` covers the content of one message, `Repr-Digest` the
/// representation.
#[tokio::test]
async fn content_digests_are_sent_only_with_the_whole_content() {
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

#[tokio::test]
async fn a_hit_answers_range_requests() {
    let lines = [("etag", "\"a\""), ("content-type", "text/plain"), ("content-length", "1000")];
    let body: String = (0..1000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let page = body.clone();
    let (stack, calls) = site(policy(), move |_, _| with_lines(&lines, body.clone()));
    send(&stack, get("/")).await;
    let range = |value| get_with("/", &[("range", value)]);

    let part = send(&stack, range("bytes=1-3")).await;
    assert_eq!((part.status.as_u16(), part.text(), part.is_hit()), (206, &page[1..4], true));
    assert_eq!(part.header("content-range"), Some("bytes 1-3/1000"));
    assert_eq!((part.header("content-length"), part.header("etag")), (Some("3"), Some("\"a\"")));
    assert_eq!(send(&stack, range("bytes=-2")).await.text(), &page[998..]);

    let several = send(&stack, range("bytes=0-1,500-501")).await;
    assert_eq!(several.status.as_u16(), 206);
    let content_type = several.header("content-type").expect("a type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect("multipart");
    let parts: Vec<_> = several.text().split(&format!("--{boundary}")).collect();
    assert_eq!((parts.len(), parts[3]), (4, "--\r\n"));
    assert!(parts[1].contains("content-range: bytes 0-1/1000\r\n\r\nab"), "{}", parts[1]);
    assert!(
        parts[2].contains("content-type: text/plain\r\ncontent-range: bytes 500-501/1000"),
        "{}",
        parts[2]
    );
    assert_eq!(several.header("content-length"), Some(&*several.body.len().to_string()));
    assert_eq!(several.header("content-range"), None);

    let nothing = send(&stack, range("bytes=1000-")).await;
    assert_eq!((nothing.status.as_u16(), nothing.header("content-range")), (416, Some("bytes */1000")));
    for ignored in ["bytes=3-1", "lines=1-2", "bytes=0-,0-,0-"] {
        assert_eq!(send(&stack, range(ignored)).await.status, 200, "{ignored}");
    }
    let conditional = |tag| get_with("/", &[("range", "bytes=1-3"), ("if-range", tag)]);
    assert_eq!(send(&stack, conditional("\"a\"")).await.status, 206);
    assert_eq!(send(&stack, conditional("\"b\"")).await.status, 200);
    assert_eq!(send(&stack, conditional("W/\"a\"")).await.status, 200);
    let head = send(&stack, request("HEAD", "/", &[("range", "bytes=1-3")])).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some("1000")));
    assert_eq!(calls.count(), 1);
}
