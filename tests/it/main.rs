//! The integration tests: one binary, a folder per topic.

mod architecture;
mod collapse;
mod conditional;
mod freshness;
mod invalidation;
mod key;
mod nesting;
mod properties;
mod proxy;
mod ranges;
mod revalidation;
mod security;
mod sharing;
mod status;
mod stores;
mod support;
mod values;
