//! The hosts and scopes that name the target of a request.

use crate::entry::Scope;
use std::sync::LazyLock;

/// The hosts that a request names, and the scopes by which an invalidation can name its target.
#[derive(Debug, Default)]
pub(crate) struct TargetNames {
    pub(crate) hosts: Vec<String>,
    /// All scopes of the target. The scope of the public path comes first.
    pub(crate) scopes: Vec<Scope>,
}

/// The names of a target, computed at first use: most requests that are not stored need none.
pub(crate) type LazyTargetNames = LazyLock<TargetNames, Box<dyn FnOnce() -> TargetNames + Send>>;
