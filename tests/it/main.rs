//! The integration tests: one binary, a folder for each topic. Helpers are in `support`.
//!
//! | Behavior | Module | Command |
//! |---|---|---|
//! | Concurrent requests for one key share a call: leaders, followers, streamed bodies, loops | `collapse` | `cargo test --test it -- collapse::` |
//! | Preconditions of clients: on a hit, in `PreconditionLayer`, and in `ConditionalGetLayer` | `conditional` | `cargo test --test it -- conditional::` |
//! | Freshness lifetimes, directives, clocks, hints, stale responses, background refresh, warm-up | `freshness` | `cargo test --test it -- freshness::` |
//! | Invalidation by scope, by writes, by purge requests; soft invalidation; generations | `invalidation` | `cargo test --test it -- invalidation::` |
//! | What is in the key: target, hosts, forwarded fields, parts, variants, codings | `key` | `cargo test --test it -- key::` |
//! | Layers in layers: order, marks, admission by the outermost layer, axum and hyper servers | `nesting` | `cargo test --test it -- nesting::` |
//! | Properties for random input: fetches against invalidations, failures, requests, load | `properties` | `cargo test --test it -- properties::` |
//! | The example of a reverse proxy, over sockets | `proxy` | `cargo test --test it -- proxy::` |
//! | Range requests: answered from the cache, and forwarded | `ranges` | `cargo test --test it -- ranges::` |
//! | 304 and HEAD responses of the origin, late responses, unkeyed fields | `revalidation` | `cargo test --test it -- revalidation::` |
//! | Published attacks, hostile input, and responses that reach another visitor | `security` | `cargo test --test it -- security::` |
//! | What is stored, and for whom: credentials, cookies, identities, downstream caches | `sharing` | `cargo test --test it -- sharing::` |
//! | `Cache-Status` (RFC 9211) and events | `status` | `cargo test --test it -- status::` |
//! | The contract of stores, stored bodies, namespaces, reentrant stores | `stores` | `cargo test --test it -- stores::` |
//! | Values of the low-level cache, and the pages made from them | `values` | `cargo test --test it -- values::` |
//! | Which modules of the crate may use which others | `architecture` | `cargo test --test it -- architecture::` |

mod architecture;
mod collapse;
mod conditional;
mod freshness;
mod invalidation;
mod key;
mod nesting;
mod properties;
mod proxy;
mod ranges;
mod revalidation;
mod security;
mod sharing;
mod status;
mod stores;
mod support;
mod values;
