//! A response body that several readers read while it arrives, each at its own pace. The source is
//! the body of the service's response, from which the frames come.
//!
//! ```text
//! recording ─┬─► complete   the body is stored
//!            ├─► failed     every reader gets the error of the source
//!            └─► given up   the body can't be stored; the readers read on within the window
//! ```
//!
//! The window is a number of bytes. If the fastest reader is that far ahead of the slowest reader,
//! it waits.
//!
//! - Any reader polls the source, with a waker that wakes all readers. If that reader is dropped,
//!   the others still get the wake-up.
//! - During the recording, all frames are kept, and further readers may join.
//! - After the recording, a frame is dropped once all readers have read it. If the recording was
//!   given up, a reader that has read all frames of a full window waits for the slowest reader. If
//!   the slowest reader makes too little progress, it is cut off.
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
