//! The public layers and the purge service, with their helpers.

/// Defines the accessors to the inner service that the services of tower-http have.
macro_rules! inner_service_accessors {
    () => {
        /// Returns the inner service.
        #[must_use]
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns a mutable reference to the inner service.
        #[must_use]
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Consumes the service, and returns the inner service.
        #[must_use]
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

mod add_vary;
mod anonymous_only;
mod anonymous_only_layer;
mod conditional_get;
mod never_cache;
mod patch;
mod precondition;
mod precondition_layer;
mod precondition_options;
mod probe;
mod purge;
mod purge_query;
mod route;
mod set_cache_control;
mod site;
mod write_locks;

pub use add_vary::{AddVary, AddVaryFuture, AddVaryLayer, patch_vary};
pub use anonymous_only::{AnonymousOnly, AnonymousOnlyFuture};
pub use anonymous_only_layer::{AnonymousOnlyBuilder, AnonymousOnlyLayer};
pub use conditional_get::{ConditionalGet, ConditionalGetFuture, ConditionalGetLayer};
pub use never_cache::{NeverCache, NeverCacheFuture, NeverCacheLayer, add_never_cache};
pub use precondition::Precondition;
pub use precondition_layer::{ByFunctions, ByGet, PreconditionLayer};
pub use purge::PurgeService;
#[cfg(feature = "inspector")]
pub(crate) use purge_query::PurgeQuery;
pub use route::RouteCacheLayer;
pub use set_cache_control::{
    SetCacheControl, SetCacheControlFuture, SetCacheControlLayer, patch_cache_control,
};
pub use site::SiteCacheLayer;
