//! The parts of a key, and the selection of variants.

mod codings;
mod contradictions;
mod forwarded;
mod parts;
#[cfg(feature = "axum")]
mod rewrites;
mod target;
mod uri_spellings;
mod variant_limits;
mod variants;
