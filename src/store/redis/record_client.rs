//! The record of a namespace in the server: reading, changing and replacing it.

use super::confirmation::{Confirmation, RoundReply};
use super::inner::RedisInner;
use super::link::{is_wrong_type, store_error, unexpected_reply};
use super::namespace::NamespaceRecord;
use super::record_reply::{AdvanceKind, RecordReply, generation, head, incarnation};
use super::script::{ADVANCE, READ_RECORD, RENEW_PASSED, REPLACE_RECORD, ScriptCall, ServerScript};
use crate::store::incarnation::{is_believable, random};
use crate::store::record::{Record, UnreadableRecord};
use crate::store::{Generation, Scope, StoreError, StoreErrorKind, Strength};
use futures_util::FutureExt;
use redis::Value;
use std::sync::Arc;
use std::time::Duration;

/// The record of the invalidations of a namespace.
///
/// The record in the server is one hash: its head (the generation), a snapshot, and the log of the
/// advances since the snapshot. The server loses all of it or nothing. Each process keeps a copy of
/// the record, and reads only the advances that it lacks.
///
/// ```text
/// read ─┬─ Current ───────────────────────────> kept as the copy, returned
///       ├─ Overtaken ─ invalidate everything ─┐
///       └─ Lost ────── new incarnation ───────┴─ replace ─┬─ won ──> returned
///                                                         └─ lost ─> read again
/// ```
#[derive(Clone)]
pub(super) struct RecordClient {
    pub(super) inner: Arc<RedisInner>,
    pub(super) namespace: Arc<NamespaceRecord>,
}

/// The most attempts at a change with which other processes interfere.
pub(super) const TRIES: usize = 64;
/// The most advances in the log. The next one waits for a new snapshot.
const LOG_ITEMS: &str = "512";
/// The most bytes of the log.
const LOG_BYTES: &str = "262144";

/// The result of reading the record.
enum RecordState {
    Current(Arc<Record>),
    /// The record's incarnation began without invalidations that this process knows.
    Overtaken(Record),
    /// The record is absent, damaged, or went back. A new incarnation must begin, later than
    /// `after`.
    Lost {
        after: Option<u64>,
    },
}

/// The result of an advance.
pub(super) enum Appended {
    /// The generation of the advance.
    To(Generation),
    /// A new incarnation began instead: every older entry is invalid.
    Lost,
}

impl RecordClient {
    fn call(&self, script: &'static ServerScript, arguments: Vec<Vec<u8>>) -> ScriptCall {
        ScriptCall { script, key: self.namespace.key.clone(), arguments }
    }

    /// Reads a record that has passed these generations. If the record is lost, begins a new
    /// incarnation.
    pub(super) async fn read(&self, passed: &[Generation]) -> Result<Arc<Record>, StoreError> {
        for _ in 0..TRIES {
            let (seen, state) = match self.look(passed).await? {
                // Reads once more, since a replica may lag behind.
                (_, RecordState::Lost { after: Some(_) }) => self.look(passed).await?,
                first => first,
            };
            let mended = match state {
                RecordState::Current(record) => return Ok(record),
                other => self.mended(other),
            };
            if let Some(record) = self.replace(seen, mended).await? {
                return Ok(record);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    async fn look(&self, passed: &[Generation]) -> Result<(Vec<u8>, RecordState), StoreError> {
        // Taken before the request: meanwhile, another task may see a newer record than the reply
        // has.
        let known = self.namespace.known();
        let call = self.call(&READ_RECORD, known_arguments(known.as_deref()));
        if self.namespace.begin_renewal(Duration::from_millis(self.inner.record_ttl())) {
            // If the renewal fails, the next renewal comes long before the record expires.
            drop(self.inner.link.send(&self.inner.renewal(&self.namespace)).await);
        }
        let reply = match self.inner.link.call(&call).await {
            Err(error) if is_wrong_type(&error) => RecordReply::default(),
            reply => RecordReply::new(reply.map_err(store_error)?).ok_or_else(unexpected_reply)?,
        };
        let state = self.judge(known.as_ref(), &reply, passed, |_| {})?;
        Ok((reply.head, state))
    }

    /// Decides the state of the record in a reply by the generations that this process knows.
    /// `inspect` gets the record before its last advance.
    fn judge(
        &self,
        known: Option<&Arc<Record>>,
        reply: &RecordReply,
        passed: &[Generation],
        inspect: impl FnOnce(&Record),
    ) -> Result<RecordState, StoreError> {
        let newer = |_: UnreadableRecord| StoreError::new(StoreErrorKind::UnknownVersion);
        let record = reply.record(known, inspect).map_err(newer)?;
        let newest = known.map(|known| known.generation()).filter(is_credible);
        let all = || newest.iter().chain(passed.iter().filter(|passed| is_credible(passed)));
        let read = record.as_ref().map(|record| record.generation());
        let after = all().copied().chain(read).map(Generation::incarnation).max();
        let Some(record) = record.filter(|record| all().all(|known| record.history.follows(*known))) else {
            return Ok(RecordState::Lost { after });
        };
        let is_overtaken = newest.is_some_and(|newest| !record.succeeds(newest));
        if is_overtaken && !self.namespace.knows(&record) {
            return Ok(RecordState::Overtaken(Record::clone(&record)));
        }
        Ok(self.namespace.note(record).map_or(RecordState::Lost { after }, RecordState::Current))
    }

    /// Returns the record that replaces an overtaken or lost record.
    fn mended(&self, state: RecordState) -> Record {
        match state {
            RecordState::Current(record) => Record::clone(&record),
            RecordState::Overtaken(mut record) => {
                record.bump(&[Scope::EVERYTHING], Strength::Hard);
                record
            }
            RecordState::Lost { after } => {
                Record::new(after, self.namespace.known().map(|known| known.history.clone()))
            }
        }
    }

    /// Replaces the record with the head `seen`. Returns `None` if the server has another head, or
    /// if the record went back meanwhile.
    async fn replace(&self, seen: Vec<u8>, record: Record) -> Result<Option<Arc<Record>>, StoreError> {
        let generation = record.generation();
        let arguments = vec![
            seen,
            head(generation),
            record.encode().to_vec(),
            generation.counter().to_string().into_bytes(),
            AdvanceKind::Snapshot.item(generation.stamp(), &[]),
            self.inner.record_ttl().to_string().into_bytes(),
        ];
        let reply =
            self.inner.link.call(&self.call(&REPLACE_RECORD, arguments)).await.map_err(store_error)?;
        Ok(if reply == Value::Int(1) { self.namespace.note(Arc::new(record)) } else { None })
    }

    /// Appends an advance. `inspect` gets the record before the advance.
    ///
    /// Does not [wait for replicas](Self::confirm).
    pub(super) async fn append(
        &self,
        kind: AdvanceKind,
        scopes: &[Scope],
        mut inspect: impl FnMut(&Record),
    ) -> Result<Appended, StoreError> {
        for _ in 0..TRIES {
            let known = match self.namespace.known() {
                Some(known) => known,
                None => self.read(&[]).await?,
            };
            let stamp = random() as u32;
            let mut arguments = known_arguments(Some(&known));
            arguments.extend([
                format!("{stamp:08x}").into_bytes(),
                kind.item(stamp, scopes),
                self.inner.record_ttl().to_string().into_bytes(),
                LOG_ITEMS.into(),
                LOG_BYTES.into(),
            ]);
            let reply = match self.inner.link.call(&self.call(&ADVANCE, arguments)).await {
                Err(error) if is_wrong_type(&error) => Value::BulkString(b"moved".into()),
                reply => reply.map_err(store_error)?,
            };
            if let Value::BulkString(reason) = &reply {
                let record = self.read(&[]).await?;
                if reason == b"full" {
                    self.replace(head(record.generation()), Record::clone(&record)).await?;
                }
                continue;
            }
            let reply = RecordReply::new(reply).ok_or_else(unexpected_reply)?;
            let mended = match self.judge(Some(&known), &reply, &[], &mut inspect)? {
                // Returns the generation in this reply. The newest known record may contain later
                // advances, which another task has read meanwhile.
                RecordState::Current(_) => {
                    let own = generation(&reply.head).ok_or_else(unexpected_reply)?;
                    return Ok(Appended::To(own));
                }
                other => self.mended(other),
            };
            if self.replace(reply.head, mended).await?.is_some() {
                return Ok(Appended::Lost);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Waits until enough replicas have all advances that this process has appended. Concurrent callers
    /// share one wait.
    ///
    /// Fails if too few replicas answer in time. The advances are in the record nevertheless, and this
    /// process notices a fail-over that undoes them.
    pub(super) async fn confirm(&self) -> Result<(), StoreError> {
        if self.inner.confirmation.is_none() {
            return Ok(());
        }
        let this = self.clone();
        let round = async move {
            match &this.inner.confirmation {
                Some(confirmation) => this.confirm_known(confirmation).await.map_err(|error| error.kind()),
                None => Ok(true),
            }
        };
        match self.namespace.rounds.confirm(round).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::new(StoreErrorKind::Unconfirmed)),
            Err(kind) => Err(StoreError::new(kind)),
        }
    }

    /// Returns `true` if enough replicas have the newest generation that this process knows. This
    /// generation follows every advance of this process, or belongs to an incarnation without older
    /// entries.
    ///
    /// The connection for confirmations may lead to another server than the one with the advance, during
    /// a fail-over. Therefore that server must have the generation.
    async fn confirm_known(&self, confirmation: &Confirmation) -> Result<bool, StoreError> {
        for _ in 0..2 {
            let mut arguments = known_arguments(self.namespace.known().as_deref());
            arguments.push(self.inner.record_ttl().to_string().into_bytes());
            match confirmation.call(&self.call(&RENEW_PASSED, arguments)).await.map_err(store_error)? {
                RoundReply::Lacking => {}
                reply => return Ok(reply == RoundReply::Confirmed),
            }
            // Another process may have replaced the log by a snapshot meanwhile.
            self.read(&[]).await?;
        }
        Ok(false)
    }

    /// Brings the copy of this process up to date. Concurrent callers share one request.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let this = self.clone();
        let read = async move { this.read(&[]).await.map(drop).map_err(|error| error.kind()) };
        self.namespace.share(read.boxed()).await.map_err(StoreError::new)
    }
}

pub(super) fn is_credible(generation: &Generation) -> bool {
    is_believable(generation.incarnation())
}

/// Returns the arguments that name the newest known generation.
fn known_arguments(known: Option<&Record>) -> Vec<Vec<u8>> {
    let Some(known) = known.map(Record::generation) else { return vec![Vec::new(); 3] };
    let counter = known.counter().to_string().into_bytes();
    vec![incarnation(known), counter, known.stamp().to_le_bytes().to_vec()]
}
