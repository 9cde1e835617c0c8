//! Invalidations in the server, and the copy that each process keeps.

use super::record_client::{Appended, RecordClient, TRIES, is_credible};
use super::record_reply::AdvanceKind;
use crate::store::record::Record;
use crate::store::{
    Dependency, Generation, Generations, Scope, StoreError, StoreErrorKind, StoreFuture, Strength, Validity,
};
use std::fmt;
use std::sync::Arc;

/// The invalidations of a namespace.
///
/// `check` reads the record in the server. `check_at` uses the copy of this process instead, if the
/// copy has reached the generation that was read with the entry.
#[derive(Clone)]
pub(super) struct RedisGenerations(pub(super) RecordClient);

/// The most scopes of one advance. More scopes take several advances.
const MOST_SCOPES: usize = 8192;

impl RedisGenerations {
    /// Returns the copy of this process if the copy has reached `read`.
    fn known_past(&self, read: Generation) -> Option<Arc<Record>> {
        self.0.namespace.known().filter(|known| known.history.contains(read))
    }

    /// Returns the state of an entry according to the copy of the record in this process.
    ///
    /// Returns `None` if the copy may lack an invalidation that happened before `read`, before the
    /// entry was made, or before a dependency was read.
    fn state_now(
        &self,
        read: Generation,
        all: impl Iterator<Item = (Scope, Generation)> + Clone,
    ) -> Option<Validity> {
        let record = self.known_past(read)?;
        let is_passed = |since: Generation| record.history.follows(since) || !is_credible(&since);
        let is_known = all.clone().all(|(_, since)| is_passed(since));
        is_known.then(|| Validity::worst(all.map(|(scope, since)| record.validity_since(scope, since))))
    }

    async fn check_all(&self, all: &[(Scope, Generation)]) -> Result<Validity, StoreError> {
        // The record is read after the entry. So its history has reached the generations of the
        // entry, unless the record went back.
        let mut passed: Vec<_> = all.iter().map(|(_, since)| *since).collect();
        passed.dedup();
        let record = self.0.read(&passed).await?;
        Ok(Validity::worst(all.iter().map(|(scope, since)| record.validity_since(*scope, *since))))
    }
}

/// Returns the scopes to check, each with the generation that it is checked against.
fn scopes_to_check(
    since: Generation,
    scopes: &[Scope],
    dependencies: &[Dependency],
) -> impl Iterator<Item = (Scope, Generation)> + Clone {
    let own = std::iter::once(&Scope::EVERYTHING).chain(scopes).map(move |scope| (*scope, since));
    let others = dependencies.iter().map(|dependency| (dependency.value, dependency.since));
    own.chain(others)
}

impl Generations for RedisGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        let this = self.clone();
        self.0.inner.link.run(async move { Ok(this.0.read(&[]).await?.generation()) })
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        let this = self.clone();
        self.0.inner.link.run(async move { Ok(this.0.read(&[]).await?.cleared()) })
    }

    fn known_cleared(&self) -> Option<Generation> {
        self.0.namespace.known().map(|known| known.cleared())
    }

    fn cleared_at(&self, read: Generation) -> StoreFuture<Generation> {
        if let Some(record) = self.known_past(read) {
            return StoreFuture::ready(Ok(record.cleared()));
        }
        let this = self.clone();
        self.0.inner.link.run(async move {
            this.0.refresh().await?;
            match this.known_past(read) {
                Some(record) => Ok(record.cleared()),
                None => Ok(this.0.read(&[]).await?.cleared()),
            }
        })
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let (this, all) = (self.clone(), scopes_to_check(since, scopes, dependencies).collect::<Vec<_>>());
        self.0.inner.link.run(async move { this.check_all(&all).await })
    }

    fn check_at(
        &self,
        read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let all = scopes_to_check(since, scopes, dependencies);
        if let Some(state) = self.state_now(read, all.clone()) {
            return StoreFuture::ready(Ok(state));
        }
        let (this, all) = (self.clone(), all.collect::<Vec<_>>());
        self.0.inner.link.run(async move {
            this.0.refresh().await?;
            match this.state_now(read, all.iter().copied()) {
                Some(state) => Ok(state),
                None => this.check_all(&all).await,
            }
        })
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let (this, scopes) = (self.clone(), scopes.to_vec());
        self.0.inner.link.run(async move {
            for scopes in scopes.chunks(MOST_SCOPES) {
                this.0.append(AdvanceKind::of(strength), scopes, |_| {}).await?;
            }
            this.0.confirm().await
        })
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        let this = self.clone();
        self.0.inner.link.run(async move {
            for _ in 0..TRIES {
                let record = this.0.read(&[]).await?;
                if record.has_dependents(value) {
                    return Ok(record.generation());
                }
                // This advance needs no confirmation: the generation of the dependent entry reveals
                // a fail-over that has undone it.
                this.0.append(AdvanceKind::Depend, &[value], |_| {}).await?;
            }
            Err(StoreError::new(StoreErrorKind::Contended))
        })
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        let this = self.clone();
        self.0.inner.link.run(async move {
            // The record is read after the write of the value. A dependent that is not recorded by
            // then reads the value later, so it reads the new value.
            if !this.0.read(&[]).await?.has_dependents(value) {
                return Ok(Some(since));
            }
            let mut is_sole = false;
            let before = |record: &Record| is_sole = record.validity_since(value, since) != Validity::Invalid;
            let appended = this.0.append(AdvanceKind::Hard, &[value], before).await?;
            this.0.confirm().await?;
            match appended {
                Appended::To(own) => Ok(is_sole.then_some(own)),
                Appended::Lost => Ok(Some(since)),
            }
        })
    }
}

impl fmt::Debug for RedisGenerations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisGenerations").finish_non_exhaustive()
    }
}
