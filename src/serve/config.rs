//! The configuration of a layer, shared with all its services.

use super::keyed_fields::KeyedFields;
use crate::cache::{Cache, LayerCounters, LayerIdentity};
use crate::entry::{SecretFields, VariantSelection};
use crate::key::{KeyBuf, ValueDigests};
use crate::marks::{LAYER_ID_LENGTH, LayerId};
use crate::policy::request_fields::{PersonalRule, is_secret};
use crate::policy::{Policy, PolicyTable, PolicyTableEntry, ResponseEncoder, Sharing, Ttl};
use crate::rules::vary::VaryMatch;
use crate::status::Detail;
use http::HeaderName;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// The kind of layer: [`SiteCacheLayer`](crate::SiteCacheLayer) or
/// [`RouteCacheLayer`](crate::RouteCacheLayer).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Site,
    Route(Ttl),
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Route(_) => "route",
        }
    }
}

/// `true` once this process has created a cache layer with per-identity entries.
static STORES_PER_IDENTITY: AtomicBool = AtomicBool::new(false);

/// Returns `true` if a layer of this process stores per-identity entries.
pub(in crate::serve) fn may_store_per_identity() -> bool {
    STORES_PER_IDENTITY.load(Ordering::Relaxed)
}

/// The configuration of a layer, shared with all its services. Its options never change:
/// [`switched`](Self::switched) returns another configuration instead.
#[derive(Debug, Clone)]
pub(crate) struct LayerConfig {
    pub(in crate::serve) cache: Cache,
    pub(in crate::serve) policy: Policy,
    pub(in crate::serve) level: Level,
    /// The name of the layer if its policy sets no name: `site` or `route`. An entry in the policy
    /// table changes `level`, but not this name.
    default_name: &'static str,
    /// A digest of the key parts that are the same for all requests; every key begins with it.
    id: LayerId,
    /// The list of layer IDs that this layer writes into the mark of a request if no outer cache
    /// layer has marked the request. It has one item, the ID of this layer.
    own_ids: Arc<[LayerId]>,
    /// The keyed request fields, if clients get them in `Vary`.
    keyed_fields: Option<KeyedFields>,
    /// The encoder of stored responses, if the layer has one and the store keeps encoded variants.
    encoder: Option<Arc<ResponseEncoder>>,
    /// The field names that clients get in the `Vary` of a response with encoded variants: the keyed
    /// fields and `Accept-Encoding`.
    negotiated_fields: Option<KeyedFields>,
    /// The rule that recognizes responses for one visitor by their fields.
    pub(in crate::serve) personal: PersonalRule,
    /// How requests select variants.
    selection: Arc<VariantSelection>,
    /// Computes the digests that replace secret values in keys.
    digests: ValueDigests,
    /// The statistics of all layers with this layer's name. Set at the first request, because the
    /// name may change before that.
    counters: OnceLock<Arc<LayerCounters>>,
    /// If `false`, the layer forwards all requests. It still invalidates after unsafe methods.
    pub(in crate::serve) is_enabled: bool,
    /// `true` if this configuration stands in for a layer's own one, because the cache is disabled
    /// or a policy table applies.
    is_switched: bool,
    /// `true` during a dry run, in which stored responses answer no request.
    is_dry_run: bool,
    /// The number of the entry in the policy table that led to this configuration.
    table_entry: Option<usize>,
    /// The configurations that replace this one while the cache is disabled or a policy table
    /// applies.
    switched: Arc<SwitchedConfigs>,
}

/// The configurations that replace a layer's own configuration while the cache is disabled or a
/// policy table applies. Each one is created at its first use. The keys of the layer stay the same.
#[derive(Debug, Default)]
struct SwitchedConfigs {
    disabled: OnceLock<Arc<LayerConfig>>,
    by_entry: RwLock<EntryConfigs>,
}

/// The configurations for the entries of one policy table, by the number of the entry.
#[derive(Debug, Default)]
struct EntryConfigs {
    table: Option<Arc<PolicyTable>>,
    configs: HashMap<usize, Arc<LayerConfig>>,
}

impl EntryConfigs {
    fn is_of(&self, table: &Arc<PolicyTable>) -> bool {
        self.table.as_ref().is_some_and(|own| Arc::ptr_eq(own, table))
    }
}

impl SwitchedConfigs {
    /// Returns the configuration for an entry of a table. `create` creates it at first use.
    fn of_entry(
        &self,
        table: &Arc<PolicyTable>,
        number: usize,
        create: impl FnOnce() -> LayerConfig,
    ) -> Arc<LayerConfig> {
        let current = self.by_entry.read().unwrap_or_else(PoisonError::into_inner);
        let known = current.configs.get(&number).filter(|_| current.is_of(table)).cloned();
        drop(current);
        if let Some(config) = known {
            return config;
        }
        let new = Arc::new(create());
        let mut current = self.by_entry.write().unwrap_or_else(PoisonError::into_inner);
        let outdated = match current.is_of(table) {
            true => EntryConfigs::default(),
            false => {
                let empty = EntryConfigs { table: Some(Arc::clone(table)), configs: HashMap::new() };
                std::mem::replace(&mut *current, empty)
            }
        };
        let config = Arc::clone(current.configs.entry(number).or_insert_with(|| Arc::clone(&new)));
        // The outdated configurations are dropped after the lock is released.
        drop(current);
        drop(outdated);
        config
    }
}

impl LayerConfig {
    pub(crate) fn new(cache: Cache, mut policy: Policy, level: Level) -> Arc<Self> {
        let mut buf = KeyBuf::new();
        buf.part(cache.namespace().as_bytes());
        buf.part(&cache.version().to_le_bytes());
        buf.part(level.name().as_bytes());
        buf.part(policy.name.as_deref().unwrap_or_default().as_bytes());
        buf.raw(&policy.key.fingerprint());
        // The options for sharing responses between visitors enter the ID, so that no layer serves
        // a response that its own options would not share. Functions of the user do not enter,
        // since they can't be compared.
        buf.part(format!("{level:?} {:?}", policy.sharing).as_bytes());
        buf.part(&[u8::from(policy.share_set_cookie)]);
        let mut credentials: Vec<_> = policy.credentials.iter().map(HeaderName::as_str).collect();
        credentials.sort_unstable();
        buf.part(credentials.join(",").as_bytes());
        buf.length(policy.predicates.extension_count());
        for (kind, names) in policy.cookies.parts() {
            buf.part(kind);
            buf.length(names.len());
            names.iter().for_each(|name| buf.part(name.as_bytes()));
        }
        buf.length(policy.response_cookies.len());
        policy.response_cookies.iter().for_each(|name| buf.part(name.as_bytes()));
        // The unkeyed fields that the handler may see, and the name given to `vary_by_identity`.
        let allowed = policy.strips_unkeyed.then_some(&policy.allowed_unkeyed);
        buf.part(format!("{allowed:?}").as_bytes());
        buf.optional(policy.predicates.identity_name().map(str::as_bytes));
        // The ID must be the same in every process. It is short, since every hash and comparison of
        // a key includes it.
        let mut id = [0; LAYER_ID_LENGTH];
        id.copy_from_slice(&Sha256::digest(buf.as_bytes())[..LAYER_ID_LENGTH]);
        let digests = cache.value_digests();
        let keyed = policy.key.headers.iter();
        policy.key.secrets = keyed.filter(|name| policy.is_secret(name)).cloned().collect();
        policy.key.digests = digests.clone();
        let secrets = SecretFields { by_name: is_secret, declared: policy.credentials.clone() };
        let alike = match policy.sharing {
            Sharing::App => VaryMatch::Exact,
            Sharing::Rfc9111 => VaryMatch::Normalized,
        };
        let selection = Arc::new(VariantSelection::new(alike, digests.clone(), secrets));
        let keyed_fields = KeyedFields::of(&policy);
        let own_ids = Arc::new([id]);
        let personal = PersonalRule::of(&policy);
        if policy.predicates.identity_name().is_some() {
            STORES_PER_IDENTITY.store(true, Ordering::Relaxed);
        }
        Self {
            cache,
            policy,
            level,
            default_name: level.name(),
            id,
            own_ids,
            keyed_fields,
            encoder: None,
            negotiated_fields: None,
            personal,
            selection,
            digests,
            counters: OnceLock::new(),
            is_enabled: true,
            is_switched: false,
            is_dry_run: false,
            table_entry: None,
            switched: Arc::default(),
        }
        .registered()
    }

    /// Adds the layer to the registry of its cache, by name.
    fn registered(self) -> Arc<Self> {
        let config = Arc::new(self);
        config.cache.layer_registry().add(config.name(), &config);
        config
    }

    /// Returns the counters of the layer's name.
    #[inline]
    pub(in crate::serve) fn counters(&self) -> &Arc<LayerCounters> {
        self.counters.get_or_init(|| self.register())
    }

    #[cold]
    fn register(&self) -> Arc<LayerCounters> {
        let Self { cache, policy, level, id, .. } = self;
        let identity = || LayerIdentity {
            scope: format!("{} {} {level:?}", cache.namespace(), cache.version()),
            id: id.to_vec(),
        };
        cache.layer_counters(self.name(), policy.name.is_some().then(identity))
    }

    /// Counts a response of the service that is not stored.
    pub(in crate::serve) fn note_not_stored(&self, why: Detail) {
        event!(detail = %why, "not stored");
        self.counters().count_not_stored(why);
    }

    /// Warns, once, if a site-wide cache stores nothing because it has no TTL. Call it for each response
    /// that is not stored.
    #[cfg(feature = "tracing")]
    pub(in crate::serve) fn warn_without_ttl(&self, why: Detail, status: http::StatusCode) {
        let counters = self.counters();
        let has_no_ttl = matches!(self.level, Level::Site) && self.policy.default_ttl == Ttl::Default;
        // `default_ttl` applies only to status 200.
        let needs_ttl = has_no_ttl && (why, status) == (Detail::NoLifetime, http::StatusCode::OK);
        if needs_ttl && counters.stores_nothing_without_ttl() {
            warning!(
                layer = counters.name(),
                "1,000 responses had no lifetime, and none was stored: the policy has no `default_ttl`"
            );
        }
    }

    /// Returns how requests select variants.
    #[inline]
    pub(in crate::serve) fn selection(&self) -> &Arc<VariantSelection> {
        &self.selection
    }

    /// Returns the request fields that clients get in the `Vary` of a response, if there are any.
    /// `is_encodable` is `true` for a response that may have encoded variants.
    #[inline]
    pub(in crate::serve) fn vary_fields(&self, is_encodable: bool) -> Option<&KeyedFields> {
        if is_encodable && self.negotiated_fields.is_some() {
            return self.negotiated_fields.as_ref();
        }
        self.keyed_fields.as_ref()
    }

    /// Returns the names of [`vary_fields`](Self::vary_fields).
    pub(in crate::serve) fn emitted(&self, is_encodable: bool) -> &[String] {
        self.vary_fields(is_encodable).map(KeyedFields::names).unwrap_or_default()
    }

    /// Returns the encoder of stored responses.
    #[inline]
    pub(in crate::serve) fn encoder(&self) -> Option<&Arc<ResponseEncoder>> {
        self.encoder.as_ref()
    }

    /// Returns the name of the layer in statistics, explanations and policy tables.
    pub(in crate::serve) fn name(&self) -> &str {
        self.policy.name.as_deref().unwrap_or(self.default_name)
    }

    /// Returns `true` if stored responses answer no request.
    #[inline]
    pub(in crate::serve) fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// Returns `true` for a `RouteCacheLayer`.
    #[cfg(feature = "tracing")]
    pub(in crate::serve) fn is_route_layer(&self) -> bool {
        self.default_name == Level::Route(Ttl::Default).name()
    }

    /// Returns the number of the entry in the policy table that led to this configuration.
    pub(in crate::serve) fn table_entry(&self) -> Option<usize> {
        self.table_entry
    }

    /// Returns the ID of the layer, with which all keys of the layer begin.
    #[inline]
    pub(in crate::serve) fn id(&self) -> &LayerId {
        &self.id
    }

    /// Returns the IDs for a request that no outer cache layer has marked: the ID of this layer
    /// alone.
    pub(in crate::serve) fn own_ids(&self) -> &Arc<[LayerId]> {
        &self.own_ids
    }

    /// Returns the hasher of secret values in keys.
    pub(in crate::serve) fn digests(&self) -> &ValueDigests {
        &self.digests
    }

    /// Returns the configuration with another policy.
    pub(crate) fn with_policy(self: Arc<Self>, policy: Policy) -> Arc<Self> {
        Self::new(self.cache.clone(), policy, self.level)
            .enabled(self.is_enabled)
            .with_encoder(self.encoder.clone())
    }

    /// Returns the configuration with an encoder of stored responses. A store outside the process
    /// does not keep encoded variants, so the encoder has no effect over it.
    pub(crate) fn with_encoder(self: Arc<Self>, encoder: Option<Arc<ResponseEncoder>>) -> Arc<Self> {
        let encoder = encoder.filter(|_| self.cache.is_local());
        let negotiated_fields =
            encoder.as_ref().map(|_| KeyedFields::with_accept_encoding(self.keyed_fields.as_ref()));
        let mut config = Arc::unwrap_or_clone(self);
        // A layer without an encoder promises no strong tags, so the two share no entries.
        if encoder.is_some() != config.encoder.is_some() {
            config.id[0] ^= 1;
            config.own_ids = Arc::new([config.id]);
        }
        Self { encoder, negotiated_fields, switched: Arc::default(), ..config }.registered()
    }

    /// Returns the configuration with the layer enabled or disabled.
    pub(crate) fn enabled(self: Arc<Self>, is_enabled: bool) -> Arc<Self> {
        Self { is_enabled, switched: Arc::default(), ..Arc::unwrap_or_clone(self) }.registered()
    }

    /// Returns the configuration that replaces this one for requests with this path, because the
    /// cache is disabled or an entry of the policy table applies. Returns `None` if this one
    /// applies.
    pub(in crate::serve) fn switched(&self, path: &str) -> Option<Arc<Self>> {
        if self.is_switched {
            return None;
        }
        if !self.cache.is_enabled() {
            let disabled = || Arc::new(Self { is_enabled: false, ..self.derived() });
            return Some(Arc::clone(self.switched.disabled.get_or_init(disabled)));
        }
        let table = self.cache.policy_table()?;
        let (number, entry) = table.find(self.name(), path)?;
        Some(self.switched.of_entry(&table, number, || self.with_entry(number, entry)))
    }

    /// Returns a copy with the options of an entry in the policy table. The keys stay the same.
    fn with_entry(&self, number: usize, entry: &PolicyTableEntry) -> Self {
        let mut config = self.derived();
        entry.apply(&mut config.policy);
        config.level = entry.ttl().map_or(config.level, Level::Route);
        config.is_enabled = entry.enabled().unwrap_or(config.is_enabled);
        config.is_dry_run = entry.is_dry_run();
        config.table_entry = Some(number);
        config
    }

    /// Returns a copy that can stand in for this configuration. The copy has the same counters, and
    /// no further configuration replaces it.
    fn derived(&self) -> Self {
        let counters = OnceLock::from(Arc::clone(self.counters()));
        Self { is_switched: true, switched: Arc::default(), counters, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyBuilder;
    use crate::store::NullStore;
    use std::time::Duration;

    #[test]
    fn different_key_or_sharing_options_give_different_ids() {
        let (app, rfc) = (Policy::app, Policy::rfc9111);
        let identity = |builder: PolicyBuilder, name| builder.vary_by_identity(name, |_| None);
        let policies: [PolicyBuilder; 24] = [
            app(),
            rfc(),
            app().name("a"),
            app().ignore_headers(["x-a"]),
            app().ignore_headers(["x-b"]),
            app().vary_on_headers(["x-a"]),
            app().vary_on_headers(["x-b"]),
            app().credential_headers(["x-a"]),
            app().credential_headers(["x-b"]),
            app().ignore_cookies(["a"]),
            app().ignore_cookies(["b"]),
            app().vary_on_cookies(["a"]),
            app().credential_cookies(["a"]),
            app().ignore_undeclared_cookies(),
            app().ignore_response_cookies(["a"]),
            app().ignore_response_cookies(["b"]),
            app().strip_unkeyed_inputs(true),
            app().strip_unkeyed_inputs(true).allow_unkeyed_headers(["x-a"]),
            app().strip_unkeyed_inputs(true).allow_unkeyed_headers(["x-b"]),
            app().identified_if_extension::<u8>(),
            identity(app(), "a"),
            identity(app(), "b"),
            app().vary_by("a", |_| None),
            rfc().share_set_cookie(true),
        ];
        let cache = Cache::new(NullStore::new());
        let levels =
            [Level::Site, Level::Route(Ttl::Forever), Level::Route(Ttl::For(Duration::from_secs(1)))];
        let mut ids: Vec<LayerId> = Vec::new();
        for level in levels {
            for policy in &policies {
                let policy = policy.clone().build().expect("a policy");
                let config = LayerConfig::new(cache.clone(), policy, level);
                assert!(!ids.contains(config.id()), "{level:?} {:?}", config.policy);
                ids.push(*config.id());
            }
        }
    }
}
