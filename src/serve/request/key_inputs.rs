//! The inputs of a request's key, as an explanation shows them.

use super::inspect::InspectedRequest;
use super::target::{public_uri, rewritten_uri};
use crate::key::{KeyInput, RequestHead};
use crate::serve::config::LayerConfig;
use http::uri::Authority;

/// Returns the inputs of the key that
/// [`write_request_key`](super::keyed_inputs::write_request_key) writes, in their order.
pub(in crate::serve) fn key_inputs(
    config: &LayerConfig,
    request: RequestHead<'_>,
    inspected: &InspectedRequest<'_>,
) -> Vec<KeyInput> {
    let (policy, uri, digests) = (&config.policy, public_uri(request), config.digests());
    let host = inspected.host.and_then(|host| host.to_str().ok());
    let query = policy.key.query.normalized(uri.query());
    let mut inputs = vec![
        KeyInput::plain("namespace", Some(config.cache.namespace())),
        KeyInput::plain("version", Some(&config.cache.version().to_string())),
        KeyInput::plain("layer", Some(config.name())),
        KeyInput::plain("scheme", uri.scheme_str()),
        KeyInput::plain("host", uri.authority().map(Authority::as_str).or(host)),
        KeyInput::plain("path", Some(uri.path())),
        KeyInput::plain("query", query.as_deref()),
    ];
    if let Some(seen) = rewritten_uri(request) {
        let query = policy.key.query.normalized(seen.query());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let host = seen.authority().map(Authority::as_str).unwrap_or_default();
        inputs.push(KeyInput::plain("handler target", Some(&format!("{host}{}{query}", seen.path()))));
    }
    for field in inspected.facts.forwarded.iter() {
        if let Ok(Some(value)) = field.canonical(request.headers, &policy.key.query) {
            inputs.push(KeyInput::plain(format!("header {}", field.name()), Some(&value)));
        }
    }
    inputs.extend(policy.key.inputs(request.headers, &inspected.parts));
    for (at, name) in policy.cookies.keyed().iter().enumerate() {
        let value = inspected.cookies.get(at).copied().flatten();
        let digest = value.map(|value| digests.digest(name.as_bytes(), value));
        inputs.push(KeyInput::digest(
            format!("cookie {name}"),
            digest.as_ref().map(|digest| digest.as_slice()),
        ));
    }
    if let Some(name) = policy.predicates.identity_name() {
        let digest = inspected.identity.as_ref().map(|id| digests.digest(name.as_bytes(), id.as_bytes()));
        inputs.push(KeyInput::digest(
            format!("identity {name}"),
            digest.as_ref().map(|digest| digest.as_slice()),
        ));
    }
    inputs
}
