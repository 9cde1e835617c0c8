//! The public layers: thin, one module each.

mod route;
mod site;

pub use route::RouteCacheLayer;
pub use site::SiteCacheLayer;
