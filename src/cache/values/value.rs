//! A handle to one value, with the options of its next write.

use super::name::Name;
use crate::cache::Cache;
use crate::entry::Scope;
use crate::policy::Ttl;
use std::time::Duration;

/// The most attempts of a change while other tasks change the same value.
pub(super) const MAX_ATTEMPTS: usize = 64;

/// A handle to one value of the low-level cache, with the TTL, tags and stale window of its next
/// write.
///
/// [`Cache::value`] creates it. Use it for a value that has tags or a stale window; otherwise the
/// methods of [`Cache`] suffice. The handle does not access the store until a method is awaited.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, Invalidation, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let top = cache.value("top-10").ttl(Duration::from_secs(60)).tags(["flavors"]);
/// top.set(&["vanilla", "pistachio"]).await?;
/// let _ = cache.invalidate(Invalidation::tag("flavors")).await;
/// assert_eq!(top.get::<Vec<String>>().await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a value does nothing unless it is set or computed"]
pub struct Value<'a> {
    pub(super) cache: &'a Cache,
    pub(super) name: Name,
    ttl: Ttl,
    tags: Vec<String>,
    pub(super) window: Duration,
}

impl Cache {
    /// Returns a handle to the value under a key. Use it for a value that has tags or a stale
    /// window.
    ///
    /// A key is any sequence of bytes, of any length.
    pub fn value(&self, key: impl AsRef<[u8]>) -> Value<'_> {
        self.value_named(self.name_of(key.as_ref()))
    }

    pub(super) fn name_of(&self, key: &[u8]) -> Name {
        match &self.0.key_function {
            Some(rename) => Name::of_key(self.version(), &rename(key)),
            None => Name::of_key(self.version(), key),
        }
    }

    pub(super) fn value_named(&self, name: Name) -> Value<'_> {
        Value { cache: self, name, ttl: Ttl::Default, tags: Vec::new(), window: Duration::ZERO }
    }
}

impl<'a> Value<'a> {
    /// Returns a handle to the value with another name. The new handle has the options of this one.
    pub(super) fn with_name(&self, name: Name) -> Value<'a> {
        Self { name, ..self.clone() }
    }
}

impl Value<'_> {
    /// Sets the TTL of the value: a [`Duration`], an `Option<Duration>` (`None` means forever) or a
    /// [`Ttl`].
    ///
    /// [`Ttl::Default`], the default, is the TTL that
    /// [`CacheBuilder::value_ttl`](crate::cache::CacheBuilder::value_ttl) sets. With a TTL of zero,
    /// no write stores the value. [`set`](Self::set) and [`touch`](Self::touch) then remove the
    /// present value; [`add`](Self::add) keeps it. TTLs are rounded up to milliseconds.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Adds tags. [`Invalidation::tag`](crate::Invalidation::tag) invalidates all values and pages
    /// with a tag, and their dependents.
    #[doc(alias = "surrogate key")]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Sets the stale window: how long after its TTL the value may be used while one call computes
    /// it again. The default is zero.
    ///
    /// Within this window, one call of [`get_or_set`](Self::get_or_set), the leader, computes the
    /// value. Concurrent calls, the followers, return the stale value. [`get`](Self::get) never
    /// returns a stale value.
    ///
    /// A [soft invalidation](crate::Invalidation::soft) makes a value stale before its TTL ends.
    /// With a window, followers may use the value until its TTL and the window have passed. Without
    /// a window, no call uses it.
    ///
    /// Set the window on every handle to the value. The window of the handle that writes the value
    /// decides how long the store keeps the value. The window of the handle that reads the value
    /// decides how long the stale value may be used.
    #[doc(alias = "grace")]
    #[doc(alias = "SWR")]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Returns the TTL of the value, or `None` for a value that does not expire.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let ttl = match self.ttl {
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => None,
            Ttl::Default => self.cache.0.value_ttl,
        };
        ttl.map(whole_milliseconds)
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::value(self.name.as_bytes())
    }

    /// Returns the scopes that the value shares with other values: [`Scope::VALUES`], and a scope
    /// for each tag.
    pub(super) fn shared_scopes(&self) -> impl Iterator<Item = Scope> {
        std::iter::once(Scope::VALUES).chain(self.tags.iter().map(|tag| Scope::tag(tag)))
    }

    /// Returns how long the store keeps the value, including its stale window, or `None` if the
    /// value does not expire.
    pub(super) fn retention(&self) -> Option<Duration> {
        self.lifetime().map(|ttl| if ttl.is_zero() { ttl } else { ttl.saturating_add(self.window) })
    }
}

/// Rounds a duration up to milliseconds, the unit of a [`Moment`](crate::clock::Moment).
fn whole_milliseconds(ttl: Duration) -> Duration {
    const MILLISECOND: u32 = 1_000_000;
    match ttl.subsec_nanos() % MILLISECOND {
        0 => ttl,
        rest => ttl.saturating_add(Duration::from_nanos((MILLISECOND - rest).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_rounded_up_to_milliseconds() {
        let table =
            [(0, 0), (1, 1_000_000), (999_999, 1_000_000), (1_000_000, 1_000_000), (1_000_001, 2_000_000)];
        for (nanos, rounded) in table {
            assert_eq!(whole_milliseconds(Duration::from_nanos(nanos)), Duration::from_nanos(rounded));
        }
        assert_eq!(whole_milliseconds(Duration::MAX), Duration::MAX);
    }
}
