//! Compares a hit in a content coding with a plain hit, and with a plain hit that a `CompressionLayer`
//! outside the cache encodes.
//!
//! A time covers the call, the poll and the body. The cases take turns, so that other load on the
//! machine affects them equally.
//!
//! ```text
//! cargo bench --bench encoded --features compression
//! ```

mod support;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;
use support::compression::{warm_encoded, warm_plain};
use support::{Body, call};
use tower::{Layer, Service};
use tower_http::compression::CompressionLayer;

const ROUNDS: usize = 15;

/// Runs an operation a number of times, and returns the bytes of the last body.
type Run = Box<dyn FnMut(u32) -> usize>;

fn main() {
    println!("{:10} {:8} {:26} {:>10} {:>9} {:>8}", "page", "coding", "", "ns a hit", "ratio", "bytes");
    for size in [16 << 10, 100 << 10] {
        for coding in ["gzip", "br", "zstd"] {
            compare(size, coding);
        }
    }
}

/// Prints the times of a page and a coding.
fn compare(size: usize, coding: &'static str) {
    let request = accepting(coding);
    let plain = warm_plain(&request, page(size));
    let outside = CompressionLayer::new().layer(warm_plain(&request, page(size)));
    let encoded = warm_encoded(&request, page(size));
    let mut cases: [(&str, u32, Run); 3] = [
        ("plain hit", 2000, run(plain, accepting("identity"))),
        ("encoded hit", 2000, run(encoded, request.clone())),
        ("CompressionLayer outside", 20, run(outside, request)),
    ];
    let mut times = [const { Vec::new() }; 3];
    let mut bytes = [0; 3];
    for round in 0..=ROUNDS {
        for (at, (_, iterations, run)) in cases.iter_mut().enumerate() {
            let start = Instant::now();
            bytes[at] = run(*iterations);
            // The first round only warms up.
            if round > 0 {
                times[at].push(start.elapsed().as_secs_f64() * 1e9 / f64::from(*iterations));
            }
        }
    }
    for (at, (name, ..)) in cases.iter().enumerate() {
        let ratios = times[at].iter().zip(&times[0]).map(|(own, plain)| own / plain).collect();
        let (ns, ratio) = (median(times[at].clone()), median(ratios));
        println!("{:10} {coding:8} {name:26} {ns:10.0} {ratio:9.2} {:8}", size, bytes[at]);
    }
}

fn accepting(coding: &'static str) -> Request<Body> {
    let mut request = support::request();
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static(coding));
    request
}

/// Returns a page of HTML with varied text.
fn page(size: usize) -> Response<Body> {
    let mut text = String::with_capacity(size + 100);
    let mut number = 1_u32;
    while text.len() < size {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!(
            "<li><a href=\"/articles/{}\">Article {} of {}</a></li>\n",
            number >> 12,
            number >> 20,
            number >> 26
        );
    }
    text.truncate(size);
    support::response(size).map(|_| Full::new(Bytes::from(text)))
}

fn run<S, B>(mut service: S, request: Request<Body>) -> Run
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    Box::new(move |iterations| {
        let mut bytes = 0;
        for _ in 0..iterations {
            let body = call(&mut service, black_box(request.clone())).into_body();
            let body = body.collect().now_or_never().expect("ready").expect("a body");
            bytes = black_box(body.to_bytes()).len();
        }
        bytes
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
