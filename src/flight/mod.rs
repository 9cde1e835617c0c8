//! Request collapsing (single-flight): concurrent requests for one key share one call of the
//! service.
//!
//! A request that misses joins the flight of its key. The first request is the leader: it calls the
//! service. Later requests are followers: they wait for the outcome of the flight. If the leader is
//! dropped for any reason, its guard releases the followers.
//!
//! | module | content |
//! |---|---|
//! | `table`, `flights` | a flight, the flights under way, joining one |
//! | `leader`, `outcome` | the leader's guard, and the possible outcomes |
//! | `chain` | nested requests: detection of loops and of cyclic waits |
//! | `hit_for_miss` | keys that do not collapse for a while |
//! | `stream` | a body that followers read while it arrives |
//! | `stall`, `work` | recordings without progress; counts and permits of background work |

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
pub(crate) use hit_for_miss::{HitForMiss, HitForMissReason, RecentKeys};
pub(crate) use leader::Leader;
pub(crate) use outcome::{AbandonedOutcome, Outcome};
pub(crate) use stall::{BudgetedRecording, STALL_TIMEOUT};
pub(crate) use stream::{BodyReader, BodySink, Stream};
pub(crate) use table::Flight;
pub(crate) use work::{WorkCounter, WorkGuard, WorkPermit};
