//! Helpers that several test modules share.

mod cases;
#[cfg(all(feature = "redis-rustls", feature = "testing"))]
pub(crate) mod certificates;
pub(crate) mod collapse;
pub(crate) mod entries;
mod exchange;
pub(crate) mod faulty;
#[cfg(all(feature = "redis", feature = "testing"))]
pub(crate) mod forwarder;
pub(crate) mod proxy;
#[cfg(all(feature = "redis", feature = "testing"))]
pub(crate) mod redis_sites;
pub(crate) mod rfc9111;
pub(crate) mod selected;
#[cfg(all(feature = "redis", feature = "testing"))]
pub(crate) mod servers;
pub(crate) mod stacks;
pub(crate) mod streamed_pages;
pub(crate) mod validators;
pub(crate) mod visitors;

pub(crate) use cases::{cases, default_cases};
pub(crate) use exchange::*;
