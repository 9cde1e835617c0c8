//! A response body that several readers read while it arrives, each at its own pace.
//!
//! ```text
//! recording ─┬─► complete   the body is stored
//!            ├─► failed     every reader gets the error of the source
//!            └─► given up   the body can't be stored; readers go on through the window
//! ```
//!
//! - Any reader polls the source, with a waker that wakes all readers. If that reader is dropped,
//!   the others still get the wake-up.
//! - During the recording, all frames are kept, and further readers may join.
//! - After the recording, a frame is dropped once all readers have read it. If the recording was
//!   given up, the frames must fit a bounded window. While the window is full, the slowest readers
//!   are cut off if they make too little progress.
//! - No foreign code runs under the lock: not the source, a waker, a store or the drop of a buffer.

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
