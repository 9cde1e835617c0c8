//! The public layers: thin, one module each.

mod anonymous_only;
mod condition;
mod condition_layer;
mod condition_options;
mod conditional;
mod patch;
mod probe;
mod purge;
mod route;
mod site;
mod write_locks;

pub use anonymous_only::{AnonymousOnly, AnonymousOnlyFuture, AnonymousOnlyLayer};
pub use condition::Condition;
pub use condition_layer::{ByFunctions, ByGet, ConditionLayer};
pub use conditional::{Conditional, ConditionalFuture, ConditionalLayer};
pub use patch::{CacheControlLayer, NeverCacheLayer, Patched, PatchedFuture, VaryLayer};
pub use purge::PurgeService;
pub use route::RouteCacheLayer;
pub use site::SiteCacheLayer;
