//! The public layers: thin, one module each.

mod condition;
mod conditional;
mod route;
mod site;

pub use condition::{ByFunctions, ByGet, Condition, ConditionLayer};
pub use conditional::{Conditional, ConditionalFuture, ConditionalLayer};
pub use route::RouteCacheLayer;
pub use site::SiteCacheLayer;
