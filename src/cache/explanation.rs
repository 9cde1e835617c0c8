//! Explanations of the decisions of cache layers on a request.

use super::invalidation::Invalidation;
use crate::clock::Moment;
use crate::entry::{Generation, NominatedField, Scope, StoredResponse};
use crate::key::KeyInput;
use crate::status::{CacheStatus, Detail, detail_meaning, forward_meaning, guide_page};
use http::{HeaderName, StatusCode};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The decision of one cache layer on a request, and its reason. [`Cache::explain`] returns an
/// explanation for each layer.
///
/// # Security
/// An explanation names cookies and fields, but contains no values of credentials, cookies or
/// identities. It contains the URL of the request and the values of keyed fields.
///
/// # Example
/// ```
/// use tower_response_cache::cache::Explanation;
///
/// fn summary(explanation: &Explanation) -> String {
///     match explanation.stored() {
///         Some(stored) if explanation.is_hit() => format!("a hit, {} s old", stored.age().as_secs()),
///         _ => format!("forwarded: {} ({})", explanation.meaning(), explanation.guide()),
///     }
/// }
/// ```
///
/// [`Cache::explain`]: crate::cache::Cache::explain
#[derive(Debug, Clone)]
pub struct Explanation {
    pub(crate) layer: String,
    pub(crate) policy_entry: Option<usize>,
    pub(crate) is_dry_run: bool,
    pub(crate) status: CacheStatus,
    /// The detail of the status. It may contain a field name, which
    /// [`CacheStatus::detail_word`] does not return.
    pub(crate) detail: Option<Detail>,
    pub(crate) identified_by: Vec<String>,
    pub(crate) key: Vec<KeyInput>,
    pub(crate) key_digest: Option<String>,
    pub(crate) stored: Option<StoredSummary>,
    pub(crate) variants: usize,
    pub(crate) variant_fields: Vec<HeaderName>,
    pub(crate) stored_variants: Vec<StoredVariant>,
    pub(crate) last_not_stored: Option<Detail>,
    pub(crate) is_hit_for_miss: bool,
    pub(crate) unknown_inputs: Vec<String>,
}

impl Explanation {
    /// Creates the explanation of a layer whose decision is not known yet.
    pub(crate) fn new(layer: &str, unknown_inputs: Vec<String>, status: CacheStatus) -> Self {
        Self {
            layer: layer.to_owned(),
            policy_entry: None,
            is_dry_run: false,
            status,
            detail: None,
            identified_by: Vec::new(),
            key: Vec::new(),
            key_digest: None,
            stored: None,
            variants: 0,
            variant_fields: Vec::new(),
            stored_variants: Vec::new(),
            last_not_stored: None,
            is_hit_for_miss: false,
            unknown_inputs,
        }
    }

    /// Returns the [name](crate::policy::PolicyBuilder::name) of the layer. Layers without a name
    /// are `site` and `route`.
    #[must_use]
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Returns the number of the entry in the [policy table](crate::cache::Cache::set_policy_table)
    /// that applies to the request. The numbers begin at 1.
    #[must_use]
    pub fn policy_entry(&self) -> Option<usize> {
        self.policy_entry
    }

    /// Returns `true` if a policy table makes the request a dry run: the service answers it in any
    /// case.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// Returns the status that the layer would report for the request, as far as it is known before
    /// the service is called.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        self.status
    }

    /// Returns `true` if a stored response would answer the request.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.status.is_hit()
    }

    /// Returns the reason of the decision as a sentence: the meaning of `fwd` and `detail` in the
    /// [tables](CacheStatus), with the option that changes the decision. Its text is not part of
    /// the stable API.
    #[must_use]
    pub fn meaning(&self) -> String {
        let forward = self.status.forward_reason().and_then(|reason| forward_meaning(reason.as_str()));
        let detail = self.detail.and_then(|detail| detail_meaning(detail.as_str(), true));
        match (forward, detail) {
            (Some(forward), Some(detail)) => format!("{forward}: {detail}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "a stored response answers the request".to_owned(),
        }
    }

    /// Returns the address of the page of the guide that explains the decision.
    #[must_use]
    pub fn guide(&self) -> String {
        guide_address(guide_page(self.status.forward_reason(), self.detail))
    }

    /// Returns the names of the cookies and fields by which the request counts as identified, so
    /// that it bypasses the cache. At most 16 names are returned, each cut to 64 bytes and escaped.
    /// A cookie with an empty value is not named, because its text may be a secret without a name.
    #[must_use]
    pub fn identified_by(&self) -> &[String] {
        &self.identified_by
    }

    /// Returns the inputs of the key. The slice is empty if the request bypasses the cache before a
    /// key is made.
    #[must_use]
    pub fn key(&self) -> &[KeyInput] {
        &self.key
    }

    /// Returns the digest of the key. The parameter `key` of `Cache-Status` ends with it (see
    /// [`cache_status_key`](crate::policy::PolicyBuilder::cache_status_key)).
    #[must_use]
    pub fn key_digest(&self) -> Option<&str> {
        self.key_digest.as_deref()
    }

    /// Returns the stored response that was found under the key, even if it may not be used.
    #[must_use]
    pub fn stored(&self) -> Option<&StoredSummary> {
        self.stored.as_ref()
    }

    /// Returns the number of variants of the URL, or 0 if no entry was found for the URL. A stored
    /// response that does not vary counts as one variant.
    ///
    /// The number is the length of the URL's index, which may list variants that have expired.
    #[must_use]
    pub fn variants(&self) -> usize {
        self.variants
    }

    /// Returns the request fields that select a variant of the URL (RFC 9111 section 4.1).
    #[must_use]
    pub fn variant_fields(&self) -> &[HeaderName] {
        &self.variant_fields
    }

    /// Returns the stored variants of the URL, the newest first, at most 32. A stored response that
    /// does not vary is one variant.
    ///
    /// The explanation reads each of them from the store. Variants that the store no longer has, or
    /// whose look-up fails, are left out.
    #[must_use]
    pub fn stored_variants(&self) -> &[StoredVariant] {
        &self.stored_variants
    }

    /// Returns the reason why the last response under the key was not stored, in the words of
    /// [`CacheStatus::detail_word`]. The cache remembers the reason for an hour, and forgets it
    /// when a response is stored.
    ///
    /// The reason is remembered only if the head of the response permitted storing it. Otherwise,
    /// only the `Cache-Status` of that response has the reason.
    #[must_use]
    pub fn last_not_stored(&self) -> Option<&'static str> {
        self.last_not_stored.map(Detail::as_str)
    }

    /// Returns `true` if the requests for the key do not collapse now. Either the last response
    /// could not be shared, or an inner cache layer handles the requests.
    #[must_use]
    #[doc(alias = "hit-for-pass")]
    pub fn is_hit_for_miss(&self) -> bool {
        self.is_hit_for_miss
    }

    /// Returns the inputs that the explanation cannot know. They are options with functions that
    /// may read extensions of the request, the marks of outer layers, and rewrites by routers and
    /// outer layers.
    ///
    /// The explanation calls the functions with the given request. Their results are right only if
    /// that request has the extensions of a real one.
    #[must_use]
    pub fn unknown_inputs(&self) -> &[String] {
        &self.unknown_inputs
    }
}

fn guide_address(page: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("https://docs.rs/tower-response-cache/{version}/tower_response_cache/docs/{page}/index.html")
}

/// A stored variant of a URL, and the request fields that select it (RFC 9111 section 4.1).
/// [`Explanation::stored_variants`] returns it.
///
/// # Example
/// ```
/// use tower_response_cache::cache::Explanation;
///
/// fn print_variants(explanation: &Explanation) {
///     for variant in explanation.stored_variants() {
///         let selected_by: Vec<_> = variant.selected_by().iter().map(ToString::to_string).collect();
///         println!("{}: {:?}", selected_by.join(", "), variant.stored().ttl_seconds());
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StoredVariant {
    stored: StoredSummary,
    selected_by: Vec<KeyInput>,
}

impl StoredVariant {
    pub(crate) fn new(stored: StoredSummary) -> Self {
        let selected_by = stored.response.head().nominated.iter().map(NominatedField::shown).collect();
        Self { stored, selected_by }
    }

    /// Returns the stored response.
    #[must_use]
    pub fn stored(&self) -> &StoredSummary {
        &self.stored
    }

    /// Returns the fields that the response nominates in `Vary`, with their values in the request
    /// that it answered first. Credentials, cookies and long values are shown as digests.
    #[must_use]
    pub fn selected_by(&self) -> &[KeyInput] {
        &self.selected_by
    }
}

/// A stored response, as an [`Explanation`] shows it.
#[derive(Clone)]
pub struct StoredSummary {
    response: Arc<StoredResponse>,
    now: Moment,
}

impl StoredSummary {
    pub(crate) fn new(response: Arc<StoredResponse>, now: Moment) -> Self {
        Self { response, now }
    }

    /// Returns the status code of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the current age (RFC 9111 section 4.2.3).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.response.current_age(self.now)
    }

    /// Returns the remaining freshness lifetime in seconds; negative if the response is stale.
    /// Returns `None` if it never becomes stale.
    ///
    /// A response that was invalidated may still have a positive lifetime.
    #[must_use]
    pub fn ttl_seconds(&self) -> Option<i64> {
        let until = self.response.head().fresh_until;
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match until == Moment::NEVER {
            true => None,
            false if self.now < until => Some(seconds(until.since(self.now))),
            false => Some(-seconds(self.now.since(until))),
        }
    }

    /// Returns the length of the body in bytes.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.response.body().len() as u64
    }

    /// Returns the memory that the response takes in a [`MemoryStore`](crate::MemoryStore), in
    /// bytes, without its key.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.response.weight()
    }

    /// Returns the generation that was current before the response was made.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.response.head().generation
    }

    /// Returns `true` if an invalidation names the response: by its path, URI, subtree, host or tag,
    /// or by a value or part from which it was made. [`Invalidation::all`] names every response.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Invalidation;
    /// use tower_response_cache::cache::StoredSummary;
    ///
    /// fn shows_flavors(stored: &StoredSummary) -> bool {
    ///     stored.is_named_by(Invalidation::tag("flavors"))
    /// }
    /// ```
    #[must_use]
    pub fn is_named_by(&self, what: impl Into<Invalidation>) -> bool {
        let head = self.response.head();
        let depends_on = |scope: &Scope| head.dependencies.iter().any(|part| part.value() == *scope);
        let names =
            |scope: &Scope| *scope == Scope::EVERYTHING || head.scopes.contains(scope) || depends_on(scope);
        what.into().scopes().iter().any(names)
    }
}

/// Omits the body and the header fields.
impl fmt::Debug for StoredSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSummary")
            .field("status", &self.status())
            .field("age", &self.age())
            .field("ttl_seconds", &self.ttl_seconds())
            .field("body_bytes", &self.body_bytes())
            .finish_non_exhaustive()
    }
}
