//! Tests of the steps of an admission, as tables. Each test names the RFC section of its step.

mod lifetime;
mod order;
mod selecting;
mod stored;

use super::{Candidate, Exchange};
use crate::clock::Clock;
use crate::entry::Generation;
use crate::key::KeyRef;
use crate::marks::Identified;
use crate::marks::{LazyTargetNames, TargetNames};
use crate::policy::{CacheHints, Policy, PolicyBuilder};
use crate::serve::config::{LayerConfig, Level};
use crate::serve::request::RequestFacts;
use crate::status::{Detail, FieldName};
use crate::store::NullStore;
use crate::{Cache, Store};
use http::header::HeaderName;
use http::{HeaderMap, Request, Response, StatusCode, request, response};
use std::time::Duration;

const X_A: HeaderName = HeaderName::from_static("x-a");

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A GET and its response.
struct SampleExchange {
    policy: PolicyBuilder,
    level: Level,
    facts: RequestFacts,
    request: HeaderMap,
    request_head: Option<request::Parts>,
    key: Vec<u8>,
    cookies_declared: bool,
    response: response::Parts,
    /// The time that the service takes to respond.
    delay: Duration,
}

impl SampleExchange {
    fn new(policy: PolicyBuilder) -> Self {
        let (level, facts) = (Level::Site, RequestFacts::default());
        let (response, ()) = Response::new(()).into_parts();
        let (request, request_head, cookies_declared) = (HeaderMap::new(), None, false);
        let (key, delay) = (b"key".to_vec(), Duration::ZERO);
        Self { policy, level, facts, request, request_head, key, cookies_declared, response, delay }
    }

    fn facts(mut self, set: impl FnOnce(&mut RequestFacts)) -> Self {
        set(&mut self.facts);
        self
    }

    fn policy(self, change: impl FnOnce(PolicyBuilder) -> PolicyBuilder) -> Self {
        Self { policy: change(self.policy), ..self }
    }

    fn request_field(mut self, name: &'static str, value: &str) -> Self {
        self.request.append(name, value.parse().expect("a value"));
        self
    }

    fn response_field(mut self, name: &'static str, value: &str) -> Self {
        self.response.headers.append(name, value.parse().expect("a value"));
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.response.status = StatusCode::from_u16(status).expect("a status");
        self
    }

    fn hints(mut self, hints: CacheHints) -> Self {
        hints.add_to(&mut self.response.extensions);
        self
    }

    fn identified(mut self) -> Self {
        self.response.extensions.insert(Identified);
        self
    }

    fn run<T>(&self, step: impl FnOnce(Candidate<'_>) -> T) -> T {
        self.run_in(NullStore::new(), step)
    }

    fn run_in<T>(&self, store: impl Store, step: impl FnOnce(Candidate<'_>) -> T) -> T {
        let (clock, manual) = Clock::manual();
        let cache = Cache::builder(store).clock(clock.clone()).build().expect("a cache");
        let config = LayerConfig::new(cache, self.policy.clone().build().expect("a policy"), self.level);
        let (request_time, began) = (clock.wall(), clock.now());
        manual.advance(self.delay);
        let exchange = Exchange {
            key: KeyRef::new(&self.key),
            request: &self.request,
            request_head: self.request_head.as_ref(),
            facts: self.facts,
            cookies_declared: self.cookies_declared,
            request_time,
            began,
            generation: Generation::new(1, 0),
            target: &LazyTargetNames::new(Box::new(TargetNames::default)),
        };
        step(Candidate::new(&config, &exchange, &self.response))
    }
}

fn app() -> SampleExchange {
    SampleExchange::new(Policy::app())
}

fn rfc() -> SampleExchange {
    SampleExchange::new(Policy::rfc9111())
}

/// Runs `step` on the sample of each row, and compares the result with the row.
fn check<T: PartialEq + std::fmt::Debug>(
    table: impl IntoIterator<Item = (SampleExchange, T)>,
    step: impl Fn(Candidate<'_>) -> T,
) {
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        assert_eq!(sample.run(&step), expected, "row {row}: {:?}", sample.response.headers);
    }
}

/// RFC 9111 section 7.3, caching of sensitive information: a mark of the handler, or a field that
/// issues a credential, prevents storing.
#[test]
fn marks_and_issued_credentials_are_refused() {
    let token = FieldName::new("x-shop-token");
    let x_token = HeaderName::from_static("x-shop-token");
    check(
        [
            (app(), Ok(())),
            (app().hints(CacheHints::new().never()), Err(Detail::Hint)),
            (app().hints(CacheHints::new().tags(["a"])), Ok(())),
            (app().identified(), Err(Detail::Identified)),
            (rfc().identified(), Err(Detail::Identified)),
            (app().identified().facts(|facts| facts.identified = true), Err(Detail::Identified)),
            (app().identified().facts(|facts| facts.personal = true), Ok(())),
            (app().response_field("authorization", "a"), Err(Detail::Credential("authorization"))),
            (rfc().response_field("authorization", "a"), Err(Detail::Credential("authorization"))),
            (app().response_field("x-user-id", "1"), Err(Detail::Credential("x-user-id"))),
            (rfc().response_field("x-user-id", "1"), Ok(())),
            (app().response_field("x-shop-token", "1"), Err(Detail::Field(token))),
            (
                app()
                    .response_field("x-shop-token", "1")
                    .response_field("cache-control", "private=\"x-shop-token\""),
                Ok(()),
            ),
            (
                app()
                    .response_field("x-user-id", "1")
                    .response_field("cache-control", "private=\"x-user-id\""),
                Err(Detail::Credential("x-user-id")),
            ),
            (
                app().response_field("x-shop-token", "1").policy(|p| p.ignore_headers([x_token.clone()])),
                Ok(()),
            ),
            (
                app().response_field("x-shop-token", "1").policy(|p| p.unstored_headers([x_token.clone()])),
                Ok(()),
            ),
            (
                rfc().response_field("x-shop-token", "1").policy(|p| p.credential_headers([x_token.clone()])),
                Err(Detail::Field(token)),
            ),
        ],
        |candidate| candidate.check_marks(),
    );
}

/// RFC 9111 section 3: "A cache MUST NOT store a response to a request unless". A candidate adds
/// these facts to [`storable`](crate::rules::storability::storable): the range of the request,
/// validators, hints and cookies.
#[test]
fn facts_of_the_exchange_decide_on_storability() {
    let shares =
        || SampleExchange::new(Policy::rfc9111().share_set_cookie(true)).response_field("set-cookie", "a=1");
    let harmless = || app().policy(|policy| policy.ignore_response_cookies(["lb", "exp_*"]));
    let ttl = || CacheHints::new().ttl(seconds(60));
    check(
        [
            (rfc().response_field("content-range", "bytes 0-1/2"), Ok(())),
            (
                rfc().response_field("content-range", "bytes 0-1/2").facts(|facts| facts.range = true),
                Err(Detail::Partial),
            ),
            (rfc().facts(|facts| facts.range = true), Ok(())),
            (app().response_field("content-range", "bytes 0-1/2"), Err(Detail::Partial)),
            // Section 5.2.2.4: `no-cache` needs a 200 with a validator, or a TTL of the handler.
            (app().response_field("cache-control", "no-cache"), Err(Detail::NoCache)),
            (app().response_field("cache-control", "no-cache").response_field("etag", "\"a\""), Ok(())),
            (
                app().response_field("cache-control", "no-cache").response_field("etag", "\"a\"").status(404),
                Err(Detail::NoCache),
            ),
            (app().response_field("cache-control", "no-cache").hints(ttl()), Ok(())),
            // Section 5.2.2.7: `private`.
            (app().response_field("cache-control", "private"), Err(Detail::Private)),
            (app().response_field("cache-control", "private").hints(ttl()), Ok(())),
            (
                app().response_field("cache-control", "private").hints(CacheHints::new().tags(["a"])),
                Err(Detail::Private),
            ),
            (app().response_field("cache-control", "private").facts(|facts| facts.personal = true), Ok(())),
            (app().response_field("cache-control", "no-store").hints(ttl()), Err(Detail::NoStore)),
            // Section 3.5: a response to a request with `Authorization`.
            (rfc().facts(|facts| facts.authorization = true), Err(Detail::Authorization)),
            (
                rfc().facts(|facts| facts.authorization = true).response_field("cache-control", "public"),
                Ok(()),
            ),
            // Section 7.3 lets a cache store cookies. This crate is stricter: the response must state
            // a lifetime, and its request must not be identified.
            (shares().response_field("cache-control", "max-age=60"), Ok(())),
            (shares(), Err(Detail::SetCookie)),
            (shares().response_field("cache-control", "max-age=0"), Err(Detail::SetCookie)),
            (
                shares().response_field("cache-control", "max-age=60").facts(|facts| facts.identified = true),
                Err(Detail::SetCookie),
            ),
            (
                shares().response_field("cache-control", "max-age=60").policy(|p| p.share_set_cookie(false)),
                Err(Detail::SetCookie),
            ),
            (
                app()
                    .response_field("set-cookie", "a=1")
                    .policy(|p| p.share_set_cookie(true))
                    .response_field("cache-control", "max-age=9"),
                Err(Detail::SetCookie),
            ),
            (harmless().response_field("set-cookie", "lb=1").response_field("set-cookie", "exp_b=1"), Ok(())),
            (
                harmless().response_field("set-cookie", "lb=1").response_field("set-cookie", "sid=1"),
                Err(Detail::SetCookie),
            ),
            (
                harmless().response_field("set-cookie", "lb=1").response_field("set-cookie2", "lb=1"),
                Err(Detail::SetCookie),
            ),
        ],
        |candidate| candidate.check_storable(),
    );
}

/// RFC 9111 section 3 lets a cache refuse any response.
#[test]
fn predicates_see_the_request_and_the_response() {
    let (request_head, ()) = Request::get("/a").body(()).expect("a request").into_parts();
    let sample = |path: &'static str, status: u16, request_head| SampleExchange {
        request_head,
        ..app().policy(|policy| {
            policy.store_if(move |request, response| request.uri.path() == path && response.status == status)
        })
    };
    let both = |request_head| sample("/a", 200, request_head).policy(|policy| policy.store_if(|_, _| false));
    check(
        [
            (sample("/a", 200, Some(request_head.clone())), Ok(())),
            (sample("/a", 404, Some(request_head.clone())), Err(Detail::Predicate)),
            (sample("/b", 200, Some(request_head.clone())), Err(Detail::Predicate)),
            (both(Some(request_head)), Err(Detail::Predicate)),
            (sample("/b", 200, None), Ok(())),
        ],
        |candidate| candidate.check_predicate(),
    );
}
