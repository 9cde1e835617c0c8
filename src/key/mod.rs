//! Cache keys: the inputs of a request that select a stored response.
//!
//! A key is an unambiguous sequence of bytes, and keys are compared in full. The methods of
//! [`PolicyBuilder`](crate::policy::PolicyBuilder) decide what enters the key. The types of this
//! module are arguments of these methods.
//!
//! # Example
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_response_cache::key::{KeyPart, QueryKey};
//! use tower_response_cache::{Cache, CacheStatus, MemoryStore, Policy, SiteCacheLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::app()
//!     .default_ttl(Duration::from_secs(600))
//!     .query(QueryKey::without_tracking())
//!     .vary_by_part(KeyPart::language(["en", "de"])?)
//!     .cache_status(true)
//!     .build()?;
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let page = service_fn(|request: http::Request<String>| async move {
//!     // The handler sees the negotiated language, and no tracking parameters.
//!     let language = request.headers()["accept-language"].to_str().unwrap_or_default().to_owned();
//!     Ok::<_, Infallible>(http::Response::new(http_body_util::Full::from(language)))
//! });
//! let service = SiteCacheLayer::new(&cache).policy(policy).layer(page);
//!
//! let requests = [
//!     ("/?utm_source=mail", "de-AT", false), // Fetched and stored as `/` in German.
//!     ("/", "de, en;q=0.5", true),
//!     ("/", "en", false),
//!     ("/?page=2", "en", false),
//! ];
//! for (uri, languages, is_hit) in requests {
//!     let request = http::Request::get(uri).header("accept-language", languages).body(String::new())?;
//!     let response = service.clone().oneshot(request).await?;
//!     let status = response.extensions().get::<CacheStatus>().expect("every response has one");
//!     assert_eq!(status.is_hit(), is_hit, "{uri} {languages}");
//!     # drop(http_body_util::BodyExt::collect(response.into_body()).await);
//! }
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. Every key contains the ID of its layer, the scheme if it is known, the authority, the public
//!    path and the query. The ID is a digest of the cache's namespace and version, the layer's
//!    name, and the options that decide who shares a response.
//! 2. The public path and query are from the URI that the client requested. With the feature
//!    `axum`, that is `OriginalUri`. If the handler sees another target, that target enters the key
//!    as well.
//! 3. GET and HEAD share one key. Requests with other methods have no key.
//! 4. A request bypasses the cache if its `Host` is repeated, or differs from the authority of its
//!    URI (RFC 9112 section 3.2.2). It also bypasses the cache if one of the two is malformed, in
//!    upper case, or has a trailing dot, an empty port or the default port of its scheme.
//! 5. Forwarded fields (`Forwarded`, `X-Forwarded-Host` and the like) enter in canonical form,
//!    without client addresses. If a field can't be read, the request bypasses the cache.
//! 6. The policy adds [request fields](crate::policy::PolicyBuilder::vary_on_headers),
//!    [cookies](crate::policy::PolicyBuilder::vary_on_cookies), [computed
//!    parts](crate::policy::PolicyBuilder::vary_by) and the
//!    [identity](crate::policy::PolicyBuilder::vary_by_identity) of the visitor.
//! 7. Cookies, identities, credentials and parts that a function computes enter as digests only. So
//!    do long fields, from about 125 bytes.
//! 8. On a fetch, the handler sees no unkeyed query parameters, no ignored fields and no ignored
//!    cookies. It sees forwarded fields in their canonical form.
//! 9. If a response has `Vary`, its variants share one key, and the named request fields select
//!    one of them (RFC 9111 section 4.1).
//! 10. A request whose key exceeds 8 KiB bypasses the cache.
//!
//! # Caveats
//! Paths and queries are compared without decoding: `/a%62` and `/ab` have two keys.
//!
//! Digests of short or well-known values can be guessed by readers of a shared store.
//! [`CacheBuilder::key_secret`](crate::cache::CacheBuilder::key_secret) prevents that.

mod authority;
mod buf;
pub(crate) mod cache_key;
mod digest;
mod error;
mod forwarded;
mod head;
mod input;
mod part;
mod policy;
mod query;
mod target;

pub(crate) use authority::canonical_authority;
pub(crate) use buf::{KeyBuf, MAX_PLAIN_VALUE};
pub(crate) use cache_key::{BuildPrehashed, line_hash};
pub(crate) use cache_key::{CacheKey, KeyRef};
pub(crate) use digest::{ValueDigest, ValueDigests};
pub(crate) use error::KeyError;
pub(crate) use forwarded::{ForwardedField, ForwardedFields, prefix_of};
pub use head::RequestHead;
pub use input::KeyInput;
pub use part::KeyPart;
pub(crate) use policy::{KeyPolicy, write_key};
pub use query::QueryKey;
pub(crate) use target::is_same_target;
