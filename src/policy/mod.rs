//! What a layer may do: one opaque set of options, shared by the site-wide and the per-route cache.

mod builder;
mod cookies;
mod etags;
mod hints;
mod key;
mod lifetimes;
mod options;
mod origin;
mod predicates;
mod preset;
pub(crate) mod request_fields;
mod sharing;
mod tags;
mod ttl;
mod writes;

pub use crate::rules::groups::TagField;
pub use builder::PolicyBuilder;
pub(crate) use builder::field_names;
pub(crate) use cookies::{CookiePolicy, Cookies, cookie_names, sets_only};
pub use hints::CacheHints;
pub use options::Policy;
pub(crate) use options::{KnownExtension, Sharing};
pub use ttl::Ttl;
