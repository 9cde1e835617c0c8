//! What makes the key of a stored response, and which variant is selected.

mod codings;
mod forwarded;
mod parts;
#[cfg(feature = "axum")]
mod rewrites;
mod target;
mod uri_spellings;
mod variant_limits;
mod variants;
