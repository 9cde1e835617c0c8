//! Which visitors may share a response, and what caches downstream are told.

mod anonymous;
mod cookies;
mod credentials;
mod downstream;
mod exchange_fields;
mod identity;
mod post_responses;
mod responses;
mod secrets;
