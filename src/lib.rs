//! HTTP response caching as composable tower layers.

mod body;
mod cache;
mod clock;
mod entry;
mod error;
mod flight;
mod key;
mod layer;
mod policy;
mod rules;
mod serve;
mod status;
pub mod store;

pub use body::ResponseBody;
pub use cache::{Cache, CacheBuilder, Invalidation};
pub use clock::{Clock, ManualClock, Moment};
pub use error::{BoxError, ConfigError, ConfigErrorKind};
pub use key::QueryKey;
pub use layer::{RouteCacheLayer, SiteCacheLayer};
pub use policy::{Policy, Ttl};
pub use serve::{ResponseCache, ResponseFuture};
pub use status::{CacheStatus, ForwardReason};
pub use store::{MemoryStore, NullStore, Store};
