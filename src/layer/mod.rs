//! The public layers: thin, one module each.

mod add_vary;
mod anonymous_only;
mod conditional_get;
mod never_cache;
mod patch;
mod precondition;
mod precondition_layer;
mod precondition_options;
mod probe;
mod purge;
mod route;
mod set_cache_control;
mod site;
mod write_locks;

pub use add_vary::{AddVary, AddVaryFuture, AddVaryLayer};
pub use anonymous_only::{AnonymousOnly, AnonymousOnlyFuture, AnonymousOnlyLayer};
pub use conditional_get::{ConditionalGet, ConditionalGetFuture, ConditionalGetLayer};
pub use never_cache::{NeverCache, NeverCacheFuture, NeverCacheLayer};
pub use precondition::Precondition;
pub use precondition_layer::{ByFunctions, ByGet, PreconditionLayer};
pub use purge::PurgeService;
pub use route::RouteCacheLayer;
pub use set_cache_control::{SetCacheControl, SetCacheControlFuture, SetCacheControlLayer};
pub use site::SiteCacheLayer;
