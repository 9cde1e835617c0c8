//! Tables of the stored responses that a request may reuse (RFC 9111 sections 4, 4.2.4 and 5.2.1).

mod refreshes;

use super::{Lookup, NotReusable, Reuse};
use crate::clock::Clock;
use crate::entry::{Head, NominatedField, StoredResponse, headers_for_storage};
use crate::policy::{Policy, PolicyBuilder};
use crate::serve::config::{LayerConfig, Level};
use crate::serve::request::RequestFacts;
use crate::status::Detail;
use crate::{Cache, Invalidation, MemoryStore};
use NotReusable::{Directives, Fields, Invalidated, NotFresh, Precondition, SoftlyInvalidated};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use std::sync::Arc;
use std::time::Duration;

const X_A: HeaderName = HeaderName::from_static("x-a");

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), value.parse().expect("a value"))
    };
    lines.iter().map(line).collect()
}

/// A request, and a stored response that arrived an hour ago and is fresh for another minute.
struct SampleReuse {
    config: Arc<LayerConfig>,
    facts: RequestFacts,
    request: HeaderMap,
    stored: Head,
}

const AGE: Duration = Duration::from_secs(3600);

impl SampleReuse {
    fn new(policy: PolicyBuilder) -> Self {
        let clock = Clock::manual().0;
        let store = MemoryStore::builder().max_bytes(1 << 20).clock(clock.clone()).build().expect("a store");
        let cache = Cache::builder(store).clock(clock).seed(1).build().expect("a cache");
        let config = LayerConfig::new(cache, policy.build().expect("a policy"), Level::Site);
        let generation = poll(config.cache.generation()).expect("the store answers");
        let received = config.cache.clock().now().before(AGE);
        let mut stored = Head::new(StatusCode::OK, HeaderMap::new(), generation, received);
        stored.fresh_until = received.after(AGE + seconds(60));
        stored.scopes = crate::entry::Scope::of_target("/p", None, None).into();
        Self { config, facts: RequestFacts::default(), request: HeaderMap::new(), stored }.response_field(&[])
    }

    fn facts(mut self, set: impl FnOnce(&mut RequestFacts)) -> Self {
        set(&mut self.facts);
        self
    }

    /// Sets the fields of the request.
    fn request_field(self, lines: &[(&'static str, &str)]) -> Self {
        Self { request: headers(lines), ..self }
    }

    /// Sets `Cache-Control` of the request.
    fn directive(self, directives: &str) -> Self {
        self.request_field(&[("cache-control", directives)]).facts(|facts| facts.directives = true)
    }

    /// Sets the fields of the response.
    fn response_field(mut self, lines: &[(&'static str, &str)]) -> Self {
        let before = self.stored;
        let headers = headers_for_storage(&headers(lines), &[]);
        self.stored = Head::new(StatusCode::OK, headers, before.generation, before.response_time);
        (self.stored.fresh_until, self.stored.scopes) = (before.fresh_until, before.scopes);
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Head)) -> Self {
        change(&mut self.stored);
        self
    }

    fn fresh_for(self, rest: u64) -> Self {
        self.change(|head| head.fresh_until = head.response_time.after(AGE + seconds(rest)))
    }

    fn stale_for(self, past: u64) -> Self {
        self.change(|head| head.fresh_until = head.response_time.after(AGE - seconds(past)))
    }

    /// Makes the response nominate `X-A`. `value` is the value of `X-A` in the request that led to
    /// the response.
    fn nominates(self, value: &str) -> Self {
        let own = NominatedField::from_request(&X_A, &headers(&[("x-a", value)]), self.config.selection());
        self.change(|head| head.nominated = [own].into())
    }

    fn stored(&self) -> StoredResponse {
        StoredResponse::new(self.stored.clone(), Bytes::new())
    }

    fn reuse(&self) -> Reuse<'_> {
        let (config, request, facts) = (&*self.config, &self.request, self.facts);
        Reuse { config, request, facts, now: config.cache.clock().now(), read: None, is_read_only: false }
    }
}

/// Polls a future that must be ready at once.
fn poll<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("the future is ready at once")
}

fn app() -> SampleReuse {
    SampleReuse::new(Policy::app())
}

fn rfc() -> SampleReuse {
    SampleReuse::new(Policy::rfc9111())
}

fn check<T: PartialEq + std::fmt::Debug>(
    table: impl IntoIterator<Item = (SampleReuse, T)>,
    found: impl Fn(&SampleReuse) -> T,
) {
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        assert_eq!(found(&sample), expected, "row {row}: {:?}", sample.request);
    }
}

/// RFC 9111 section 4: "When presented with a request, a cache MUST NOT reuse a stored response
/// unless" the nominated fields match and the response is fresh. Section 5.2.1: the directives of
/// the request also count. RFC 9110 section 13.1.1: so do the preconditions of the request.
#[test]
fn response_that_does_not_fit_the_request_is_refused() {
    let gzip = |sample: SampleReuse| {
        sample.response_field(&[("content-encoding", "gzip")]).change(|head| head.requires_coding = true)
    };
    let with_x_a = |sample: SampleReuse, value| sample.request_field(&[("x-a", value)]);
    let matching = |sample: SampleReuse, tag| {
        sample
            .response_field(&[("etag", "\"a\"")])
            .request_field(&[("if-match", tag)])
            .facts(|facts| facts.conditional = true)
    };
    let max_age = |most: u64| rfc().directive(&format!("max-age={most}"));
    check(
        [
            (app(), None),
            (app().fresh_for(0), Some(NotFresh)),
            (app().stale_for(1), Some(NotFresh)),
            // Section 4.1: the nominated fields.
            (with_x_a(app().nominates("1"), "1"), None),
            (with_x_a(app().nominates("1"), "2"), Some(Fields)),
            (app().nominates("1"), Some(Fields)),
            (with_x_a(app().nominates("1"), "2").stale_for(1), Some(Fields)),
            // The content coding of a response that does not nominate `Accept-Encoding`.
            (gzip(app()).request_field(&[("accept-encoding", "gzip")]), None),
            (gzip(app()).request_field(&[("accept-encoding", "br")]), Some(Fields)),
            (gzip(app()), Some(Fields)),
            // Sections 5.2.1.1, 5.2.1.3, 5.2.1.4 and 5.4: the directives of the request.
            (max_age(3600), None),
            (max_age(3599), Some(Directives(Detail::RequestMaxAge))),
            (rfc().directive("min-fresh=60"), None),
            (rfc().directive("min-fresh=61"), Some(Directives(Detail::RequestMinFresh))),
            (rfc().directive("no-cache"), Some(Directives(Detail::RequestNoCache))),
            (
                rfc().request_field(&[("pragma", "no-cache")]).facts(|facts| facts.directives = true),
                Some(Directives(Detail::RequestNoCache)),
            ),
            (rfc().directive("min-fresh=61, max-age=1"), Some(Directives(Detail::RequestMaxAge))),
            (rfc().directive("no-cache, max-age=1"), Some(Directives(Detail::RequestNoCache))),
            (rfc().directive("no-cache").stale_for(1), Some(NotFresh)),
            (rfc().directive("no-store, max-stale=1"), None),
            (app().directive("no-cache, max-age=1, min-fresh=61"), None),
            // The preconditions of the request.
            (matching(rfc(), "\"a\""), None),
            (matching(rfc(), "\"b\""), Some(Precondition)),
            (matching(app(), "\"b\""), None),
            (matching(rfc(), "\"b\"").facts(|facts| facts.conditional = false), None),
            (matching(rfc(), "\"b\"").stale_for(1), Some(NotFresh)),
        ],
        |sample| sample.reuse().mismatch(&sample.stored()),
    );
}

/// RFC 9111 section 4.4: a response that was invalidated needs "a mandatory validation before" it
/// can be sent.
#[test]
fn invalidation_outranks_all_refusals_except_field_mismatch() {
    type Sample = fn() -> SampleReuse;
    let (fresh, stale): (Sample, Sample) = (app, || app().stale_for(1));
    let other: Sample = || app().nominates("1");
    let (hard, soft) = (|| Invalidation::path("/p"), || Invalidation::path("/p").soft());
    let table: [(Sample, Option<Invalidation>, Option<NotReusable>); 11] = [
        (fresh, None, None),
        (fresh, Some(Invalidation::path("/q")), None),
        (fresh, Some(soft()), Some(SoftlyInvalidated)),
        (fresh, Some(hard()), Some(Invalidated)),
        (fresh, Some(Invalidation::all()), Some(Invalidated)),
        (stale, None, Some(NotFresh)),
        (stale, Some(soft()), Some(SoftlyInvalidated)),
        (stale, Some(hard()), Some(Invalidated)),
        (other, None, Some(Fields)),
        (other, Some(hard()), Some(Fields)),
        (|| rfc().directive("no-cache"), Some(hard()), Some(Invalidated)),
    ];
    for (row, (sample, what, expected)) in table.into_iter().enumerate() {
        let sample = sample();
        if let Some(what) = what {
            assert!(poll(sample.config.cache.invalidate(what)).is_delivered());
        }
        assert_eq!(poll(sample.reuse().refusal(&sample.stored())), Ok(expected), "row {row}");
    }
}

/// RFC 9111 section 5.2.1: directives and preconditions of a request may exclude stale responses.
/// Under `app`, the cache alone decides.
#[test]
fn directives_and_preconditions_exclude_stale_responses() {
    let now_stale = |policy| SampleReuse::new(policy).stale_for(0);
    let conditional = |sample: SampleReuse| sample.facts(|facts| facts.conditional = true);
    check(
        [
            (now_stale(Policy::rfc9111()), true),
            (conditional(now_stale(Policy::rfc9111())), false),
            (conditional(now_stale(Policy::app())), true),
            (now_stale(Policy::rfc9111()).directive("no-cache"), false),
            (now_stale(Policy::rfc9111()).directive("max-age=3599"), false),
            (now_stale(Policy::rfc9111()).directive("max-age=3600"), true),
            (now_stale(Policy::rfc9111()).directive("min-fresh=1"), false),
            (now_stale(Policy::rfc9111()).directive("min-fresh=0"), true),
            (now_stale(Policy::rfc9111()).directive("max-stale=1"), true),
            (
                now_stale(Policy::rfc9111()).directive("no-cache").facts(|facts| facts.directives = false),
                true,
            ),
            (now_stale(Policy::app()).directive("no-cache"), true),
        ],
        |sample| sample.reuse().accepts_stale(&sample.stored()),
    );
}

/// RFC 9111 section 5.2.1.2: "the client is willing to accept a response that has exceeded its
/// freshness lifetime by no more than the specified number of seconds". Section 4.2.4: "A cache
/// MUST NOT generate a stale response if it is prohibited by an explicit in-protocol directive".
#[test]
fn max_stale_is_answered_if_nothing_prohibits_a_stale_response() {
    // A response that was fresh for all of its stated lifetime, which ended ten seconds ago.
    let past = |sample: SampleReuse, directives: &str| {
        let lifetime = AGE.as_secs() - 10;
        sample.response_field(&[("cache-control", &format!("max-age={lifetime}{directives}"))]).stale_for(10)
    };
    let wants = |directives: &str| past(rfc(), "").directive(directives);
    let max_stale_after = |directives: &str| past(rfc(), directives).directive("max-stale");
    check(
        [
            (wants("max-stale=10"), true),
            (wants("max-stale=9"), false),
            (wants("max-stale"), true),
            (wants("max-stale=x"), false),
            (wants("max-stale, max-stale=9"), false),
            (wants("max-age=9999"), false),
            (wants("max-stale=10, max-age=3600"), true),
            (wants("max-stale=10, max-age=3599"), false),
            (wants("max-stale=10, min-fresh=1"), false),
            (wants("max-stale=10, no-cache"), false),
            (wants("max-stale").facts(|facts| facts.conditional = true), false),
            (wants("max-stale").facts(|facts| facts.directives = false), false),
            (past(app(), "").directive("max-stale"), false),
            (max_stale_after(", must-revalidate"), false),
            (max_stale_after(", proxy-revalidate"), false),
            (max_stale_after(", s-maxage=3590"), false),
            (max_stale_after(", no-cache"), false),
            (max_stale_after(", no-cache=\"x-b\""), true),
            (max_stale_after(", stale-if-error=5"), true),
            // The response became stale before its stated lifetime ended.
            (wants("max-stale").stale_for(11), false),
            // The response states no lifetime, or a lifetime of zero.
            (rfc().stale_for(10).directive("max-stale"), false),
            (
                rfc().response_field(&[("cache-control", "max-age=0")]).stale_for(10).directive("max-stale"),
                false,
            ),
        ],
        |sample| sample.reuse().max_stale_permits(&sample.stored()),
    );
}

/// RFC 9111 section 4: a look-up ends in a hit, a stale hit or a miss. A miss may return the stored
/// response, to validate it (section 4.3) or to use it on errors.
#[tokio::test]
async fn stored_response_leads_to_a_hit_a_stale_hit_or_a_miss() {
    let tag: &[(&'static str, &str)] = &[("etag", "\"a\"")];
    let window =
        |sample: SampleReuse| sample.stale_for(10).change(|head| head.windows.while_revalidate = seconds(11));
    let on_errors =
        |sample: SampleReuse| sample.stale_for(10).change(|head| head.windows.if_error = seconds(11));
    let table = [
        (app(), "hit"),
        (window(app()), "stale"),
        (window(app()).stale_for(11), "miss"),
        (window(app()).facts(|facts| facts.authorization = true), "miss"),
        (window(rfc()).directive("no-cache"), "miss"),
        (app().stale_for(1), "miss"),
        (app().response_field(tag).stale_for(1), "miss with a stored response"),
        (on_errors(app()), "miss with a stored response"),
        (on_errors(app()).stale_for(11), "miss"),
        (app().response_field(tag).nominates("1"), "miss"),
        (rfc().response_field(tag).directive("no-cache"), "miss with a stored response"),
        (
            rfc()
                .response_field(tag)
                .request_field(&[("if-match", "\"b\"")])
                .facts(|facts| facts.conditional = true),
            "miss",
        ),
        (rfc().stale_for(1).facts(|facts| facts.head = true), "miss with a stored response"),
        (app().stale_for(1).facts(|facts| facts.head = true), "miss"),
        (
            rfc().response_field(&[("cache-control", "max-age=3590")]).stale_for(10).directive("max-stale"),
            "hit",
        ),
    ];
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        let key = crate::key::KeyRef::new(b"key");
        let found = match sample.reuse().evaluate(Arc::new(sample.stored()), (key, None)).await {
            Lookup::Hit(_) => "hit",
            Lookup::Stale { .. } => "stale",
            Lookup::Miss { stale: Some(_), .. } => "miss with a stored response",
            Lookup::Miss { .. } => "miss",
            Lookup::Bypass(_) => "bypass",
        };
        assert_eq!(found, expected, "row {row}");
    }
}
