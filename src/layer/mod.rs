//! The public layers: thin, one module each.

mod add_vary;
mod anonymous_only;
mod condition;
mod condition_layer;
mod condition_options;
mod conditional;
mod never_cache;
mod patch;
mod probe;
mod purge;
mod route;
mod set_cache_control;
mod site;
mod write_locks;

pub use add_vary::{AddVary, AddVaryFuture, VaryLayer};
pub use anonymous_only::{AnonymousOnly, AnonymousOnlyFuture, AnonymousOnlyLayer};
pub use condition::Condition;
pub use condition_layer::{ByFunctions, ByGet, ConditionLayer};
pub use conditional::{Conditional, ConditionalFuture, ConditionalLayer};
pub use never_cache::{NeverCache, NeverCacheFuture, NeverCacheLayer};
pub use purge::PurgeService;
pub use route::RouteCacheLayer;
pub use set_cache_control::{CacheControlLayer, SetCacheControl, SetCacheControlFuture};
pub use site::SiteCacheLayer;
