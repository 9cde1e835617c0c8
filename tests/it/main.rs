//! The integration tests: one binary, with a module for each topic. Shared helpers are in
//! `support`.
//!
//! | Behavior | Module | Command |
//! |---|---|---|
//! | Request collapsing: leaders, followers, streamed bodies, requests that need themselves | `collapse` | `cargo test --test it -- collapse::` |
//! | Encoded variants of stored responses: codings, tags, ranges, invalidation | `compression` | `cargo test --test it --features compression -- compression::` |
//! | Preconditions: on a hit, in `PreconditionLayer`, and in `ConditionalGetLayer` | `conditional` | `cargo test --test it -- conditional::` |
//! | Freshness lifetimes, directives, clocks, hints, stale responses, background refresh, warm-up | `freshness` | `cargo test --test it -- freshness::` |
//! | Invalidation by scope, by writes, by purge requests; soft invalidation; generations | `invalidation` | `cargo test --test it -- invalidation::` |
//! | The cache key: target, hosts, forwarded fields, `vary_by` parts, variants, codings | `key` | `cargo test --test it -- key::` |
//! | Nested layers: order, marks, admission by the outermost layer, axum and hyper servers | `nesting` | `cargo test --test it -- nesting::` |
//! | What the cache shows, and switches: status of each response, statistics, events, explanations, the inspector | `observability` | `cargo test --test it -- observability::` |
//! | Property tests: fetches that race invalidations, failures, random requests, load | `properties` | `cargo test --test it -- properties::` |
//! | The example `reverse_proxy`, over sockets | `proxy` | `cargo test --test it -- proxy::` |
//! | Range requests: answered from the cache, and forwarded | `ranges` | `cargo test --test it -- ranges::` |
//! | 304 and HEAD responses of the origin, late responses, unkeyed fields | `revalidation` | `cargo test --test it -- revalidation::` |
//! | Published attacks, hostile input, and responses that must not reach another visitor | `security` | `cargo test --test it -- security::` |
//! | Which responses are shared: credentials, cookies, identities, downstream caches | `sharing` | `cargo test --test it -- sharing::` |
//! | `Cache-Status` (RFC 9211) and events | `status` | `cargo test --test it -- status::` |
//! | The `Store` contract, stored bodies, namespaces, reentrant stores, stores that fail | `stores` | `cargo test --test it -- stores::` |
//! | The store in Redis and Valkey, over real servers | `redis` | `cargo test --test it --all-features -- redis::` |
//! | The low-level cache: values, counters, and pages that depend on values | `values` | `cargo test --test it -- values::` |
//! | Architecture rules: which module may import which | `architecture` | `cargo test --test it -- architecture::` |

mod architecture;
mod collapse;
#[cfg(feature = "compression")]
mod compression;
mod conditional;
mod freshness;
mod invalidation;
mod key;
mod nesting;
mod observability;
mod properties;
mod proxy;
mod ranges;
#[cfg(all(feature = "redis", feature = "testing"))]
mod redis;
mod revalidation;
mod security;
mod sharing;
mod status;
mod stores;
mod support;
mod values;
