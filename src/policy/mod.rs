//! The options of a cache layer, and the hints that a handler sets for its own response.
//!
//! # Example
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_response_cache::{Cache, CacheStatus, MemoryStore, Policy, SiteCacheLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::app()
//!     .default_ttl(Duration::from_secs(600))
//!     .ignore_cookies(["_ga*"])
//!     .vary_on_cookies(["lang"])
//!     .cache_status(true)
//!     .build()?;
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let page = service_fn(|_: http::Request<String>| async {
//!     Ok::<_, Infallible>(http::Response::new(http_body_util::Full::from("hello")))
//! });
//! let service = SiteCacheLayer::new(&cache).policy(policy).layer(page);
//!
//! let requests = [
//!     ("lang=de; _ga=1", false), // Fetched and stored.
//!     ("_ga=2; lang=de", true),  // The order and the ignored cookie make no difference.
//!     ("lang=en", false),        // Another key.
//!     ("sid=1", false),          // An undeclared cookie: bypasses the cache.
//! ];
//! for (cookie, is_hit) in requests {
//!     let request = http::Request::builder().header("cookie", cookie).body(String::new())?;
//!     let response = service.clone().oneshot(request).await?;
//!     let status = response.extensions().get::<CacheStatus>().expect("every response has one");
//!     assert_eq!(status.is_hit(), is_hit, "{cookie}");
//!     # drop(http_body_util::BodyExt::collect(response.into_body()).await);
//! }
//! # Ok(()) }
//! ```
//!
//! # Terms
//! - **fetch**: forwarding a request whose response may be stored.
//! - **bypass**: forwarding a request without a look-up, and without storing its response.
//! - **credential**: a field or cookie that identifies a visitor, such as `Authorization`. Options
//!   declare further credentials.
//! - **identified request**: a request with a credential, or with an identity that an outer layer
//!   has found. Other requests are **anonymous**.
//! - **undeclared cookie**: a cookie that no option names. It may be a session, so it counts as a
//!   credential.
//! - **declared harmless**: named by [`PolicyBuilder::ignore_headers`] or
//!   [`PolicyBuilder::ignore_cookies`]. Such a field or cookie does not identify a visitor.
//! - **keyed**: part of the key, so that requests with other values get other responses. All other
//!   inputs are **unkeyed**.
//! - **hint**: a caching option that a handler sets for its own response ([`CacheHints`]).
//!
//! The [glossary](crate::docs::architecture#glossary) defines further terms.
//!
//! # Rules
//! 1. [`Policy::app`] is the default of [`SiteCacheLayer`](crate::SiteCacheLayer) and
//!    [`RouteCacheLayer`](crate::RouteCacheLayer). [`Policy::rfc9111`] is for a shared cache in
//!    front of an origin that sends correct headers.
//! 2. Under `app`, a request with a credential or an undeclared cookie bypasses the cache.
//!    [`PolicyBuilder::ignore_headers`], [`PolicyBuilder::ignore_cookies`] and
//!    [`PolicyBuilder::vary_on_cookies`] declare inputs that do not identify a visitor;
//!    [`PolicyBuilder::vary_by_identity`] stores per-identity entries instead.
//! 3. Fields and cookies that are declared harmless are removed from fetches, so that no stored
//!    response depends on them. Other unkeyed fields reach the handler, unless
//!    [`PolicyBuilder::strip_unkeyed_inputs`] is set.
//! 4. The first source that sets a lifetime decides how long a response is fresh.
//!    [`CacheHints`], set by the handler, come first; see
//!    [Lifetimes](crate::docs::lifetimes#which-lifetime-counts) for the others.
//! 5. A response with `no-store` is not stored, even if options and hints differ.
//! 6. The header fields that clients receive are separate options:
//!    [`PolicyBuilder::client_max_age`], [`PolicyBuilder::emit_vary`],
//!    [`PolicyBuilder::emit_tags_in`] and [`PolicyBuilder::cache_status`].
//! 7. Setters return no errors. [`PolicyBuilder::build`] reports all invalid options at once.
//!
//! # Caveats
//! A handler that reads an unkeyed field, such as `Accept-Language`, must name it in `Vary`.
//! [`PolicyBuilder::report_unkeyed_inputs`] finds such fields.
//!
//! If you change an option that decides keys or sharing, the keys of the layer change. The layer
//! then no longer finds its old entries. They stay until they expire or are evicted.

mod builder;
mod contradictions;
mod cookies;
mod etags;
mod hints;
mod key;
mod lifetimes;
mod options;
mod origin;
mod predicates;
mod preset;
mod refresh;
pub(crate) mod request_fields;
#[cfg(feature = "compression")]
pub(crate) mod response_encoder;
mod sharing;
mod table;
mod tags;
mod ttl;
mod unknown_inputs;
#[cfg(not(feature = "compression"))]
mod without_encoder;
mod writes;

pub use crate::rules::groups::TagField;
pub use builder::PolicyBuilder;
pub(crate) use builder::field_names;
pub(crate) use contradictions::{contradiction, shared};
pub(crate) use cookies::{CookiePolicy, Cookies, cookie_names, sets_only};
pub use hints::CacheHints;
pub use options::Policy;
pub(crate) use options::{KnownExtension, Sharing};
#[cfg(feature = "compression")]
pub(crate) use response_encoder::ResponseEncoder;
pub use table::PolicyTable;
pub(crate) use table::PolicyTableEntry;
pub use ttl::Ttl;
#[cfg(not(feature = "compression"))]
pub(crate) use without_encoder::NoEncoder as ResponseEncoder;
