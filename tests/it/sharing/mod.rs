//! Which visitors may share a response, and what downstream caches may store.

mod anonymous;
mod cookies;
mod credentials;
mod downstream;
mod exchange_fields;
mod identity;
mod post_responses;
mod responses;
mod secrets;
