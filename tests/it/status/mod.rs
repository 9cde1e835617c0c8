//! `Cache-Status` (RFC 9211) and events.

#[cfg(feature = "testing")]
mod assertions;
mod details;
#[cfg(feature = "tracing")]
pub(crate) mod events;
pub(crate) mod field;
mod followers;
mod not_stored;
mod reported_key;
