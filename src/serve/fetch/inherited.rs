//! The dependencies that a page inherits from a response that is not stored.

use super::plan::Fetch;
use crate::cache::{AnswerDependencies, is_tracked};
use crate::entry::Dependencies;
use crate::serve::admission::{scopes_of, tags};
use http::response;

impl Fetch {
    /// Returns the dependencies that a page inherits from a response that is not stored.
    ///
    /// They are the scopes that the response would have if it were stored. They are unknown without
    /// a tracker, without a generation, or if the tags are unusable.
    pub(in crate::serve) fn unstored_dependencies(
        &self,
        head: &response::Parts,
        handled_by_inner: bool,
    ) -> AnswerDependencies {
        if handled_by_inner {
            // The inner layer has recorded the dependencies.
            return AnswerDependencies::none_added();
        }
        if !(self.is_detached || is_tracked()) {
            return AnswerDependencies::Unknown;
        }
        let (state, config) = (&self.state, &self.state.config);
        let tags = tags(&config.policy, &head.headers, head.extensions.get());
        let (Some(generation), Ok(tags)) = (self.plan.generation, tags) else {
            return AnswerDependencies::Unknown;
        };
        let mut reads = Dependencies::default();
        reads.inherit_scopes(&scopes_of(&state.target.scopes, &state.target.hosts, &tags), generation);
        AnswerDependencies::Known(Some(reads))
    }
}
