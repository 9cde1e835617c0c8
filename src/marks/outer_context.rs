//! The mark on a request by which outer layers inform inner layers.

use super::held_admissions::HeldAdmissions;
use super::target_names::LazyTargetNames;
use crate::policy::{CookiePolicy, Cookies, KnownExtension, cookie_names};
use crate::status::WantsStatus;
use http::{Extensions, Request};
use std::sync::{Arc, Weak};

/// The length in bytes of a [`LayerId`].
pub(crate) const LAYER_ID_LENGTH: usize = 16;

/// The ID of a cache layer: a digest of those parts of its keys that are the same for all requests.
/// Each key of the layer begins with the ID.
pub(crate) type LayerId = [u8; LAYER_ID_LENGTH];

/// A mark on a request: information from outer layers of this crate for inner layers.
///
/// It also asks inner cache layers to mark the response if they handle the request.
#[derive(Debug, Clone, Default)]
pub(crate) struct OuterContext {
    /// The IDs of the outer cache layers, from the outermost inwards.
    pub(crate) layers: Arc<[LayerId]>,
    /// An outer cache layer identified the visitor. Inner layers rely on this field, because the
    /// request may no longer have the credential.
    pub(crate) identified: bool,
    /// An outer `AnonymousOnlyLayer` identified the visitor, so every inner cache layer is
    /// bypassed.
    pub(crate) bypasses_inner: bool,
    /// The request needs a new response of the service: neither a stored response nor the response
    /// to a concurrent request answers it.
    pub(crate) needs_current: bool,
    /// The cookies that outer `AnonymousOnlyLayer`s declare; `None` without such a layer.
    pub(crate) cookies: Option<Arc<CookiePolicy>>,
    /// The names of cookies that an outer `AnonymousOnlyLayer` found, and that no layer has
    /// declared so far. The request may no longer have these cookies.
    pub(crate) undeclared: Option<Arc<[Vec<u8>]>>,
    /// The names of the request's target in outer cache layers. Inner layers store their responses
    /// with its scopes, too, because an invalidation names the public target.
    pub(crate) target: Option<Arc<LazyTargetNames>>,
    /// The admissions that inner layers hold for the responses to this request.
    pub(crate) holds: Weak<HeldAdmissions>,
    /// The extensions that the request had when it entered the outermost layer, if it had any. Any
    /// other extension was added inside the outermost layer.
    pub(crate) initial_extensions: Option<Arc<Extensions>>,
}

impl OuterContext {
    /// Creates the mark of the outermost layer.
    pub(crate) fn outermost(request: &Extensions) -> Self {
        Self { initial_extensions: Self::copy_extensions(request), ..Self::default() }
    }

    /// Returns a copy of the extensions of a request, if it has any.
    #[inline]
    pub(crate) fn copy_extensions(request: &Extensions) -> Option<Arc<Extensions>> {
        (!request.is_empty()).then(|| Arc::new(request.clone()))
    }

    /// Marks a request that a layer of this crate makes itself, and that needs a new response of
    /// the service.
    ///
    /// Every inner cache layer forwards such a request without collapsing. Clients cannot send this
    /// mark.
    pub(crate) fn require_current(request: &mut Extensions) {
        let mark = request.remove::<Self>().unwrap_or_else(|| Self::outermost(request));
        request.insert(Self { needs_current: true, ..mark });
    }

    /// Returns `true` if the request has an extension that it did not have at the outermost layer,
    /// except the `known` ones.
    pub(crate) fn has_foreign_extension(&self, request: &Extensions, known: &[KnownExtension]) -> bool {
        let start = self.initial_extensions.as_deref();
        // A typical request has the extensions with which it entered the outermost layer, and one
        // more: this mark.
        if request.len() <= start.map_or(0, Extensions::len) + 1 {
            return false;
        }
        let is_added = |(_, is_there): &&KnownExtension| is_there(request) && !start.is_some_and(is_there);
        let declared = known.iter().filter(is_added).count();
        foreign_extensions(request) > start.map_or(0, foreign_extensions) + declared
    }

    /// Returns `true` if an outer cache layer has identified the visitor, and the response cannot
    /// be stored for this visitor alone.
    ///
    /// Storing it for this visitor alone needs both:
    /// - the identity in the key (`personal`),
    /// - `target`, the names of the public target. An outer layer adds them only if a cache layer
    ///   of this process has per-identity entries.
    pub(crate) fn is_uncacheable(&self, personal: bool) -> bool {
        self.identified && (!personal || self.target.is_none())
    }

    /// Returns `true` if an outer layer has identified the visitor, or has found an undeclared
    /// cookie, which may be a credential.
    pub(crate) fn may_identify(&self) -> bool {
        self.identified || self.bypasses_inner || self.undeclared.is_some()
    }

    /// Adds to the mark of a request whether an `AnonymousOnlyLayer` has identified the visitor,
    /// and which cookies the layer declares.
    pub(crate) fn add_anonymity_rules<B>(
        request: &mut Request<B>,
        identified: bool,
        cookies: &Arc<CookiePolicy>,
    ) {
        let extensions = request.extensions_mut();
        let mut mark = extensions.remove::<Self>().unwrap_or_else(|| Self::outermost(extensions));
        mark.bypasses_inner |= identified;
        mark.cookies = Some(match mark.cookies {
            None => Arc::clone(cookies),
            Some(known) if Arc::ptr_eq(&known, cookies) => known,
            Some(known) => Arc::new(known.join(cookies)),
        });
        let known = Cookies { own: cookies, outer: mark.cookies.as_deref(), personal: false };
        let before = mark.undeclared.iter().flat_map(|names| names.iter().map(Vec::as_slice));
        let undeclared: Vec<_> = before
            .chain(cookie_names(request.headers()))
            .filter(|name| !known.declares(name))
            .map(<[u8]>::to_vec)
            .collect();
        mark.undeclared = (!undeclared.is_empty()).then(|| undeclared.into());
        request.extensions_mut().insert(mark);
    }
}

impl HeldAdmissions {
    /// Returns a weak reference to the held admissions of a request. The reference is valid only
    /// while the outermost layer waits for the response.
    pub(crate) fn of_request(request: &Extensions) -> Weak<Self> {
        request.get::<OuterContext>().map(|outer| Weak::clone(&outer.holds)).unwrap_or_default()
    }
}

/// Counts the extensions that neither this crate nor an axum router has added.
fn foreign_extensions(request: &Extensions) -> usize {
    if request.is_empty() {
        return 0;
    }
    let own = usize::from(request.get::<OuterContext>().is_some())
        + usize::from(request.get::<WantsStatus>().is_some());
    request.len().saturating_sub(own + routing_extensions(request))
}

/// Counts the extensions that an axum router adds.
#[cfg(feature = "axum")]
fn routing_extensions(request: &Extensions) -> usize {
    use axum::extract::{MatchedPath, NestedPath, OriginalUri};
    let is_nested = request.get::<NestedPath>().is_some();
    // A matched route adds two extensions: its path, and its parameters, whose type is private. The
    // presence of `MatchedPath` or `NestedPath` shows that both were added.
    2 * usize::from(is_nested || request.get::<MatchedPath>().is_some())
        + usize::from(is_nested)
        + usize::from(request.get::<OriginalUri>().is_some())
}

#[cfg(not(feature = "axum"))]
fn routing_extensions(_: &Extensions) -> usize {
    0
}

/// Returns `true` if an outer cache layer has marked the request.
#[inline]
pub(crate) fn has_outer_cache_layer(request: &Extensions) -> bool {
    request.get::<OuterContext>().is_some_and(|outer| !outer.layers.is_empty())
}

/// Returns `true` if no outer layer of this crate has marked the request.
#[inline]
pub(crate) fn is_outermost(request: &Extensions) -> bool {
    request.get::<OuterContext>().is_none()
}
