//! Collapse: concurrent requests for one key share one call of the service.
//!
//! A request that misses joins the flight of its key. The first is its leader: it calls the service
//! in its own task, as if there were no cache. The others follow: they wait for what becomes of it.
//! A leader that is dropped, for whatever reason, tells its followers by that alone.

mod chain;
mod flights;
mod hit_for_miss;
mod leader;
mod outcome;
mod stall;
mod stream;
mod table;
mod work;

pub(crate) use chain::{Chain, Wait};
pub(crate) use flights::{Flights, Role};
pub(crate) use hit_for_miss::{HitForMiss, HitForMissReason, Remembered};
pub(crate) use leader::Leader;
pub(crate) use outcome::{AbandonedOutcome, Outcome};
pub(crate) use stall::{BudgetedRecording, STALL_TIMEOUT};
pub(crate) use stream::{BodyReader, BodySink, Stream};
pub(crate) use table::Flight;
pub(crate) use work::{WorkCounter, WorkGuard, WorkPermit};
