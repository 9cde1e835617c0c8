//! The record of a namespace in the server: reading, changing and replacing it.

use super::confirmation::ConfirmedReply;
use super::inner::RedisInner;
use super::link::{is_wrong_type, store_error, unexpected_reply};
use super::namespace::NamespaceRecord;
use super::record_reply::{AdvanceKind, RecordReply, generation, head, incarnation};
use super::script::{ADVANCE, READ_RECORD, REPLACE_RECORD, ScriptCall, ServerScript};
use crate::store::incarnation::{is_believable, random};
use crate::store::record::{Record, UnreadableRecord};
use crate::store::{Generation, Scope, StoreError, StoreErrorKind, Strength};
use futures_util::FutureExt;
use redis::{RedisResult, Value};
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
    /// The incarnation lacks invalidations that this process knows.
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
                // Read once more, since a replica may be late.
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
            // If it fails, the next one comes long before the record expires.
            drop(self.inner.link.send(&self.inner.renewal(&self.namespace)).await);
        }
        let reply = match self.inner.link.call(&call).await {
            Err(error) if is_wrong_type(&error) => RecordReply::default(),
            reply => RecordReply::new(reply.map_err(store_error)?).ok_or_else(unexpected_reply)?,
        };
        let state = self.judge(known.as_ref(), &reply, passed, |_| {})?;
        Ok((reply.head, state))
    }

    /// Compares a reply with everything that this process knows.
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

    /// Writes a record in place of the one with the head `seen`. Returns `None` if another one is
    /// stored, or if the record went back meanwhile.
    async fn replace(&self, seen: Vec<u8>, record: Record) -> Result<Option<Arc<Record>>, StoreError> {
        let reply = self.inner.link.call(&self.replacement(seen, &record)).await.map_err(store_error)?;
        Ok(self.replaced(&reply, record))
    }

    /// Returns the call that replaces the record with the head `seen`.
    fn replacement(&self, seen: Vec<u8>, record: &Record) -> ScriptCall {
        let generation = record.generation();
        self.call(
            &REPLACE_RECORD,
            vec![
                seen,
                head(generation),
                record.encode().to_vec(),
                generation.counter().to_string().into_bytes(),
                AdvanceKind::Snapshot.item(generation.stamp(), &[]),
                self.inner.record_ttl().to_string().into_bytes(),
            ],
        )
    }

    fn replaced(&self, reply: &Value, record: Record) -> Option<Arc<Record>> {
        if *reply == Value::Int(1) { self.namespace.note(Arc::new(record)) } else { None }
    }

    /// Calls a script that advances the record.
    ///
    /// A first dependent needs no replicas: the generation of the dependent entry reveals that a
    /// fail-over has undone it.
    async fn call_to_advance(&self, kind: AdvanceKind, call: &ScriptCall) -> RedisResult<ConfirmedReply> {
        match &self.inner.confirmation {
            Some(confirmation) if kind != AdvanceKind::Depend => confirmation.call(call).await,
            _ => Ok(ConfirmedReply { reply: self.inner.link.call(call).await?, is_confirmed: true }),
        }
    }

    /// Appends an advance. `inspect` gets the record before it.
    ///
    /// An advance that too few replicas have fails. This process knows it nevertheless, so it notices a
    /// fail-over that undoes it.
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
            let sent = match self.call_to_advance(kind, &self.call(&ADVANCE, arguments)).await {
                Err(error) if is_wrong_type(&error) => {
                    ConfirmedReply { reply: Value::BulkString(b"moved".into()), is_confirmed: false }
                }
                sent => sent.map_err(store_error)?,
            };
            let ConfirmedReply { reply, is_confirmed } = sent;
            if let Value::BulkString(reason) = &reply {
                let record = self.read(&[]).await?;
                if reason == b"full" {
                    self.replace(head(record.generation()), Record::clone(&record)).await?;
                }
                continue;
            }
            let reply = RecordReply::new(reply).ok_or_else(unexpected_reply)?;
            let mended = match self.judge(Some(&known), &reply, &[], &mut inspect)? {
                // Not the newest record, which another task may have read meanwhile: it may contain
                // later advances.
                RecordState::Current(_) => {
                    let own = generation(&reply.head).ok_or_else(unexpected_reply)?;
                    return confirmed(is_confirmed, Appended::To(own));
                }
                other => self.mended(other),
            };
            let call = self.replacement(reply.head, &mended);
            let sent = self.call_to_advance(kind, &call).await.map_err(store_error)?;
            if self.replaced(&sent.reply, mended).is_some() {
                return confirmed(sent.is_confirmed, Appended::Lost);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Brings the copy of this process up to date. Concurrent callers share one request.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let this = self.clone();
        let read = async move { this.read(&[]).await.map(drop).map_err(|error| error.kind()) };
        self.namespace.share(read.boxed()).await.map_err(StoreError::new)
    }
}

fn confirmed(is_confirmed: bool, appended: Appended) -> Result<Appended, StoreError> {
    if is_confirmed { Ok(appended) } else { Err(StoreError::new(StoreErrorKind::Unconfirmed)) }
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
