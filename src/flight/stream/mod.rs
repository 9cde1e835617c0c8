//! A body that many read while it arrives, each at its own pace.
//!
//! Any reader drives it, with a waker that wakes them all: one who leaves takes no wake-up along. As long
//! as it may still be stored, all of it is kept, and others may join. Once it may not, the readers go on
//! through a bounded window, and one who stalls while that is full is cut off.

mod deferred;
mod item;
mod lock;
mod reader;
mod readers;
mod shared;
mod sink;
mod state;
mod wakers;

pub(crate) use reader::BodyReader;
pub(crate) use shared::Stream;
pub(crate) use sink::BodySink;
