//! Tables of early refreshes, and of requests that a response may answer while it is refreshed.

use super::{SampleReuse, X_A, app, check, headers, seconds};
use crate::clock::Moment;
use crate::entry::NominatedField;
use crate::policy::{Policy, PolicyBuilder};
use crate::serve::lookup::stale::may_refresh;
use http::HeaderName;

/// RFC 5861 section 3: a background refresh carries no credentials of the request, so the response
/// must not depend on them.
#[tokio::test]
async fn only_requests_without_an_identity_start_a_background_refresh() {
    let x_token = HeaderName::from_static("x-shop-token");
    let nominates = |name: &'static str| {
        let sample = app();
        let name = HeaderName::from_static(name);
        let own = NominatedField::from_request(&name, &headers(&[]), sample.config.selection());
        sample.change(|head| head.nominated = [own].into())
    };
    let keys = |policy: PolicyBuilder| policy.vary_on_headers([x_token.clone()]);
    let with_field = |policy: PolicyBuilder, name| SampleReuse::new(policy).request_field(&[(name, "1")]);
    check(
        [
            (app(), true),
            (app().facts(|facts| facts.personal = true), false),
            (app().facts(|facts| facts.authorization = true), false),
            (app().facts(|facts| facts.identified = true), false),
            (app().facts(|facts| facts.has_foreign_extension = true), false),
            (app().facts(|facts| facts.conditional = true), true),
            (app().facts(|facts| facts.directives = true), true),
            (nominates("user-agent"), true),
            (nominates("x-shop-token"), false),
            (nominates("authorization"), false),
            (nominates("range"), false),
            (nominates("cache-control"), false),
            (SampleReuse::new(keys(Policy::app())), true),
            (with_field(Policy::app(), "x-shop-token"), false),
            (with_field(Policy::rfc9111(), "x-api-key"), false),
            (with_field(keys(Policy::app()), "x-shop-token"), true),
            (with_field(Policy::app().ignore_headers([x_token.clone()]), "x-shop-token"), true),
            (with_field(Policy::app().credential_headers([X_A]), "x-a"), false),
        ],
        |sample| may_refresh(&sample.config.policy, sample.facts, &sample.request, &sample.stored()),
    );
}

#[test]
fn without_a_runtime_nothing_is_refreshed() {
    let sample = app();
    assert!(!may_refresh(&sample.config.policy, sample.facts, &sample.request, &sample.stored()));
}

/// XFetch: a refresh is more likely if the end of the lifetime is nearer, and if the service took
/// longer.
#[tokio::test]
async fn early_refresh_depends_on_cost_and_remaining_lifetime() {
    let early = |cost: u64, rest: u64| {
        let sample = SampleReuse::new(Policy::app().early_refresh(1.0)).fresh_for(rest);
        sample.change(|head| head.cost = seconds(cost))
    };
    let slow = |policy: PolicyBuilder| SampleReuse::new(policy).change(|head| head.cost = seconds(1_000_000));
    let count = |sample: &SampleReuse| {
        (0..100).filter(|_| sample.reuse().needs_early_refresh(&sample.stored())).count()
    };
    let table = [
        (slow(Policy::app()), 0..=0),
        (slow(Policy::app().early_refresh(0.0)), 0..=0),
        (early(1_000_000, 60), 95..=100),
        (early(1_000_000, 60).change(|head| head.fresh_until = Moment::NEVER), 0..=0),
        (early(1_000_000, 60).facts(|facts| facts.authorization = true), 0..=0),
        (early(0, 60), 0..=0),
        (early(0, 0), 100..=100),
        // If the cost equals the rest of the lifetime, a draw leads to a refresh with probability
        // exp(-1).
        (early(60, 60), 20..=55),
        (early(1, 60), 0..=0),
    ];
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        let count = count(&sample);
        assert!(expected.contains(&count), "row {row}: {count}");
    }
}
