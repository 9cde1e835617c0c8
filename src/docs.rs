//! The guide: one page for each task.
//!
//! Read [start] and [layers] first. Each of the other pages stands alone.
//!
//! **Begin**
//! - [start]: a cached page in ten lines, and how to see the cache at work.
//! - [layers]: the order of the layers, in a picture, a table and code.
//!
//! **Cached content**
//! - [keys_and_cookies]: which requests share a response, and which bypass the cache.
//! - [lifetimes]: which responses are stored, for how long, and when a stale one is used.
//! - [invalidation]: how a write removes the pages that show it.
//! - [values]: computed values, fragments and counters, and the pages that depend on them.
//! - [stores]: where entries are kept, and how to write a store.
//!
//! **Beside other layers**
//! - [sessions]: visitors who log in, and authentication layers.
//! - [compression]: compressed responses, and where compression belongs.
//! - [downstream_caches]: browsers, CDNs and proxies in front of the application.
//!
//! **In production**
//! - [several_machines]: one cache for several processes, in Redis or Valkey.
//! - [observability]: access logs, statistics, metrics and events.
//! - [sizing]: memory, concurrency and time limits.
//! - [operations]: how to turn the cache off, purge, explain decisions and change lifetimes; alerts
//!   and a dashboard.
//! - [inspector]: a page that shows the cache to operators, and purges.
//! - [testing]: tests of an application that has a cache.
//! - [proxy]: a caching reverse proxy.
//! - [security]: the attacks that the cache prevents, and the inputs that it cannot see.
//!
//! **Background**
//! - [architecture]: the parts of the crate, its invariants and its terms.
//! - [from_django]: Django's cache framework, name by name.
//! - [from_other_crates]: other response caches, option by option.

#[doc = include_str!("docs/start.md")]
pub mod start {}

#[doc = include_str!("docs/layers.md")]
pub mod layers {}

#[doc = include_str!("docs/keys_and_cookies.md")]
pub mod keys_and_cookies {}

#[doc = include_str!("docs/lifetimes.md")]
pub mod lifetimes {}

#[doc = include_str!("docs/invalidation.md")]
pub mod invalidation {}

#[doc = include_str!("docs/values.md")]
pub mod values {}

#[doc = include_str!("docs/stores.md")]
pub mod stores {}

#[doc = include_str!("docs/sessions.md")]
pub mod sessions {}

#[doc = include_str!("docs/compression.md")]
pub mod compression {}

#[doc = include_str!("docs/downstream_caches.md")]
pub mod downstream_caches {}

#[doc = include_str!("docs/several_machines.md")]
pub mod several_machines {}

#[doc = include_str!("docs/observability.md")]
pub mod observability {}

#[doc = include_str!("docs/sizing.md")]
pub mod sizing {}

#[doc = concat!(
    include_str!("docs/operations.md"),
    "```yaml\n",
    include_str!("docs/alerts.yml"),
    "```\n\nA dashboard for Grafana, to import as JSON. It needs the buckets of the histogram, as set in the ",
    "[example](crate::docs::observability#metrics):\n\n```json\n",
    include_str!("docs/dashboard.json"),
    "```\n"
)]
pub mod operations {}

// The picture is the value of a link reference. `page_works_in_chromium` takes it, if
// `INSPECTOR_PICTURE` names a file.
#[doc = concat!(
    include_str!("docs/inspector.md"),
    "\n[picture]: data:image/webp;base64,",
    include_str!("docs/inspector.webp.base64"),
    "\n"
)]
pub mod inspector {}

#[doc = include_str!("docs/testing.md")]
pub mod testing {}

#[doc = include_str!("docs/proxy.md")]
pub mod proxy {}

#[doc = include_str!("docs/security.md")]
pub mod security {}

#[doc = include_str!("docs/architecture.md")]
pub mod architecture {}

#[doc = include_str!("docs/from_django.md")]
pub mod from_django {}

#[doc = include_str!("docs/from_other_crates.md")]
pub mod from_other_crates {}
