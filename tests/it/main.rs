//! The integration tests: one binary, a module per area.

#[cfg(feature = "axum")]
mod among;
mod anonymous;
mod architecture;
mod arriving;
mod attacks;
mod bodies;
mod changes;
mod client_lifetimes;
mod collapse;
mod condition;
mod conditional;
mod cookies;
mod corners;
mod dependencies;
#[cfg(feature = "tracing")]
mod events;
mod fates;
mod faulty;
mod freshening;
mod hints;
mod hostile;
mod identity;
mod interleavings;
mod invalidation;
mod keeping;
mod key_parts;
mod keys;
mod layers;
mod leaks;
mod lifetimes;
mod lost_updates;
mod marks;
mod model;
#[cfg(feature = "axum")]
mod orders;
mod outrun;
mod overtaking;
mod patching;
mod provoked;
mod proxy;
mod proxy_fields;
mod proxy_hosts;
mod proxy_parts;
mod proxy_smuggling;
mod proxy_upstream;
mod purge;
mod readiness;
mod redirects;
mod revalidation;
#[cfg(feature = "axum")]
mod rewrites;
mod rfc9111;
mod scopes;
#[cfg(feature = "axum")]
mod servers;
mod sharing;
mod soak;
mod softened;
mod stale;
mod status;
mod status_key;
mod status_unstored;
mod status_waits;
mod status_words;
mod stores;
mod streaming;
mod support;
mod tags;
mod uri_spellings;
mod values;
mod variants;
mod visitors;
mod walk;
mod warm;
mod written;
