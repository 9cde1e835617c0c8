//! What a layer and all its services share, and the keys it makes.

use super::emitted::KeyedFields;
use super::inspect::InspectedRequest;
use super::target::public_uri;
use crate::cache::Cache;
use crate::entry::{SecretFields, VariantSelection};
use crate::flight::Chain;
use crate::key::{CacheKey, KeyBuf, KeyError, Prehashed, RequestHead, ValueDigests, write_key};
use crate::marks::{LayerId, PREFIX};
use crate::policy::request_fields::{PersonalRule, is_secret};
use crate::policy::{Policy, Sharing, Ttl};
use crate::rules::vary::VaryMatch;
use crate::status::{Detail, Reason};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use std::hash::Hasher;
use std::sync::Arc;

/// Which of the two layers this is.
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

/// What a layer and all its services share; never changed.
#[derive(Debug)]
pub(crate) struct LayerConfig {
    pub(super) cache: Cache,
    pub(super) policy: Policy,
    pub(super) level: Level,
    /// A digest of the parts of the key that are the same for all requests: the layer's place in it.
    prefix: LayerId,
    /// The mark of the outermost layer.
    alone: Arc<[LayerId]>,
    /// What clients are told that pages are keyed by.
    pub(super) keyed_fields: Option<KeyedFields>,
    /// Which responses are one recipient's own by their header.
    pub(super) personal: PersonalRule,
    selection: Arc<VariantSelection>,
    digests: ValueDigests,
}

impl LayerConfig {
    pub(crate) fn new(cache: Cache, mut policy: Policy, level: Level) -> Arc<Self> {
        let mut buf = KeyBuf::new();
        buf.part(cache.namespace().as_bytes());
        buf.part(&cache.version().to_le_bytes());
        buf.part(level.name().as_bytes());
        buf.part(policy.name.as_deref().unwrap_or_default().as_bytes());
        buf.raw(&policy.key.fingerprint());
        // Layers that let different requests or lifetimes through answer with nothing of each other's.
        buf.part(format!("{level:?} {:?}", policy.sharing).as_bytes());
        buf.part(&[u8::from(policy.share_set_cookie)]);
        let mut credentials: Vec<_> = policy.credentials.iter().map(HeaderName::as_str).collect();
        credentials.sort_unstable();
        buf.part(credentials.join(",").as_bytes());
        buf.length(policy.predicates.extensions());
        for (kind, names) in policy.cookies.parts() {
            buf.part(kind);
            buf.length(names.len());
            names.iter().for_each(|name| buf.part(name.as_bytes()));
        }
        buf.length(policy.response_cookies.len());
        policy.response_cookies.iter().for_each(|name| buf.part(name.as_bytes()));
        // What a fill may have besides, and whose it is.
        buf.part(format!("{:?}", policy.allowed).as_bytes());
        buf.optional(policy.predicates.identity_name().map(str::as_bytes));
        // The same in every process, and short, since it is hashed and compared with every key.
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&Sha256::digest(buf.as_bytes())[..PREFIX]);
        let digests = cache.value_digests();
        let keyed = policy.key.headers.iter();
        policy.key.secrets = keyed.filter(|name| policy.is_secret(name)).cloned().collect();
        policy.key.digests = digests.clone();
        let secrets = SecretFields { by_name: is_secret, declared: policy.credentials.clone() };
        let alike = match policy.sharing {
            Sharing::App => VaryMatch::InBytes,
            Sharing::Rfc9111 => VaryMatch::InMeaning,
        };
        let selection = Arc::new(VariantSelection::new(alike, digests.clone(), secrets));
        let keyed_fields = KeyedFields::of(&policy);
        let alone = Arc::new([prefix]);
        let personal = PersonalRule::of(&policy);
        Arc::new(Self { cache, policy, level, prefix, alone, keyed_fields, personal, selection, digests })
    }

    /// Returns how the variants of a URL are told apart.
    #[inline]
    pub(super) fn selection(&self) -> &Arc<VariantSelection> {
        &self.selection
    }

    /// Returns the names that stored responses have in `Vary` for clients.
    pub(super) fn emitted(&self) -> &[String] {
        self.keyed_fields.as_ref().map(KeyedFields::names).unwrap_or_default()
    }

    /// Returns the layer's place in the key.
    pub(super) fn place(&self) -> &LayerId {
        &self.prefix
    }

    /// Returns the places of a request that no other cache layer has marked.
    pub(super) fn alone(&self) -> &Arc<[LayerId]> {
        &self.alone
    }

    /// Returns the same with another policy.
    pub(crate) fn with_policy(&self, policy: Policy) -> Arc<Self> {
        Self::new(self.cache.clone(), policy, self.level)
    }

    /// Writes the key of a request into a buffer, which is too large to be moved about.
    pub(super) fn key(
        &self,
        request: RequestHead<'_>,
        inspected: &InspectedRequest<'_>,
        buf: &mut KeyBuf,
    ) -> Result<(), Reason> {
        buf.raw(&self.prefix);
        let (policy, uri, host) = (&self.policy.key, public_uri(request), inspected.host);
        write_key(buf, policy, uri, host, inspected.facts.forwarded, request, &inspected.parts).map_err(
            |error| match error {
                KeyError::Host => Reason::bypass(Detail::Host),
                KeyError::Forwarded => Reason::bypass(Detail::Forwarded),
                KeyError::UnknownHost => Reason::bypass(Detail::UnknownHost),
                KeyError::TooLong => Reason::bypass(Detail::KeyLength),
            },
        )?;
        // Digests: keys of a shared store are read by others than their owners.
        for (at, name) in self.policy.cookies.keyed().iter().enumerate() {
            let value = inspected.cookies.get(at).copied().flatten();
            let digest = value.map(|value| self.digests.digest(name.as_bytes(), value));
            buf.optional(digest.as_ref().map(<[u8; 32]>::as_slice));
        }
        if let Some(name) = self.policy.predicates.identity_name() {
            let identity = inspected.identity.as_ref().map(String::as_bytes);
            let digest = identity.map(|identity| self.digests.digest(name.as_bytes(), identity));
            buf.optional(digest.as_ref().map(<[u8; 32]>::as_slice));
        }
        if buf.is_too_long() { Err(Reason::bypass(Detail::KeyLength)) } else { Ok(()) }
    }
}

impl LayerConfig {
    /// Creates a request to this layer, as a child of what runs on this thread. It is identified by its key
    /// and all fields: the fields that select its response are not known yet.
    pub(super) fn chain(&self, key: CacheKey, headers: &HeaderMap) -> Arc<Chain> {
        let fields = headers.iter().map(|(name, value)| {
            let mut line = Prehashed::default();
            line.write(name.as_str().as_bytes());
            line.write(value.as_bytes());
            line.finish()
        });
        // In any order. Another service of the process may have the same keys.
        let layer = std::ptr::from_ref(self).addr() as u64;
        Chain::request(key, fields.fold(layer, u64::wrapping_add))
    }

    /// Returns what a client is told of a key, where it is told: what it asked for, and of all that the key is made of
    /// a digest, since that may say who its sender is.
    #[inline]
    pub(super) fn shown_key(&self, request: RequestHead<'_>, key: &[u8]) -> Option<Arc<str>> {
        (self.policy.cache_status_key && self.policy.cache_status).then(|| self.show_key(request, key))
    }

    #[inline(never)]
    fn show_key(&self, request: RequestHead<'_>, key: &[u8]) -> Arc<str> {
        let uri = public_uri(request);
        let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(Authority::as_str).or(host).unwrap_or_default();
        let query = self.policy.key.query.normalised(uri.query());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut shown = format!("{host}{}{query}", uri.path());
        let longest = shown.char_indices().nth(LONGEST_SHOWN).map_or(shown.len(), |(at, _)| at);
        shown.truncate(longest);
        let digest = Sha256::digest(key);
        let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{shown} #{digest}").into()
    }
}

/// So many characters of a URL are shown.
const LONGEST_SHOWN: usize = 512;
