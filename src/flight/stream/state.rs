//! How far a body has arrived, and who has read how much of it.

use super::readers::Readers;
use super::{Keep, Source};
use crate::entry::body_for_storage;
use crate::error::BoxError;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// What a frame takes besides its bytes, about.
pub(super) const FRAME_COST: usize = 128;

/// So much waits for the slowest reader of a body that is not kept.
const WINDOW_BYTES: usize = 256 << 10;
pub(super) struct State {
    /// Taken while it is polled, so that one that panics is never polled again.
    pub(super) source: Option<Source>,
    /// Those that are there still.
    pub(super) frames: VecDeque<Item>,
    pub(super) bytes: usize,
    pub(super) end: Option<End>,
    pub(super) keep: Option<Box<dyn Keep>>,
    /// As long as frames of the recording are left.
    pub(super) held: Option<Box<dyn Send>>,
    /// The frame by which they are not.
    pub(super) held_until: usize,
    pub(super) readers: Readers,
    /// When there was something new last.
    pub(super) moved: Instant,
}

#[derive(Clone)]
pub(super) enum Item {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// How a body has ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    Clean,
    Failed(Arc<BoxError>),
}

impl State {
    /// Takes what the source has next, and tells whether there is anything new.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut source) = self.source.take() else {
            // It panicked while it was polled.
            self.finish(End::Failed(Arc::new("the body panicked".into())));
            return Poll::Ready(());
        };
        let polled = source.as_mut().poll_frame(cx);
        let at_end = source.is_end_stream();
        self.source = Some(source);
        let polled = ready!(polled);
        self.moved = Instant::now();
        match polled {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(error)) => self.finish(End::Failed(Arc::new(error))),
            None => self.finish(End::Clean),
        }
        // Servers do not ask for the end of a body that says so itself.
        if self.end.is_none() && at_end {
            self.finish(End::Clean);
        }
        Poll::Ready(())
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            // They say nothing, and there is no end to them.
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let goes_on = self.keep.as_mut().is_none_or(|keep| keep.count(&data));
                // A small piece of a large buffer would keep all of that.
                let (data, _) = body_for_storage(data);
                self.bytes += data.len() + FRAME_COST;
                self.push(Item::Data(data));
                if !goes_on {
                    self.give_up();
                }
            }
            Err(frame) => {
                // Trailers are not stored, so neither is a response that has them.
                self.give_up();
                if let Ok(trailers) = frame.into_trailers() {
                    self.push(Item::Trailers(trailers));
                }
            }
        }
    }

    fn push(&mut self, item: Item) {
        self.frames.push_back(item);
        self.readers.frame_added();
    }

    fn give_up(&mut self) {
        if let Some(keep) = self.keep.take() {
            self.hold(keep.give_up());
            self.trim();
        }
    }

    fn finish(&mut self, end: End) {
        self.source = None;
        let keep = self.keep.take();
        match (&end, keep) {
            (_, None) => {}
            (End::Clean, Some(keep)) => {
                let held = keep.store(self.whole());
                self.hold(held);
            }
            (End::Failed(_), Some(keep)) => keep.fail(),
        }
        self.end = Some(end);
        self.trim();
    }

    /// Holds something until all that has been kept so far is read.
    fn hold(&mut self, held: Box<dyn Send>) {
        self.held = Some(held);
        self.held_until = self.readers.end();
    }

    /// Returns all of the body, which is kept from the first frame on.
    fn whole(&self) -> Bytes {
        let mut data = self.frames.iter().filter_map(|item| match item {
            Item::Data(data) => Some(data),
            Item::Trailers(_) => None,
        });
        match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(one), None) => one.clone(),
            (Some(first), Some(second)) => {
                let mut whole = BytesMut::with_capacity(self.bytes);
                [first, second].into_iter().chain(data).for_each(|data| whole.extend_from_slice(data));
                whole.freeze()
            }
        }
    }

    /// Drops what all readers have, unless it is to be stored.
    pub(super) fn trim(&mut self) {
        if self.keep.is_some() {
            return;
        }
        while self.readers.have_the_first()
            && let Some(item) = self.frames.pop_front()
        {
            self.readers.frame_dropped();
            if let Item::Data(data) = item {
                self.bytes -= data.len() + FRAME_COST;
            }
        }
        if self.readers.base() >= self.held_until {
            self.held = None;
        }
    }

    /// Tells whether the fastest has to wait for the slowest.
    pub(super) fn is_full(&self) -> bool {
        self.keep.is_none() && self.bytes >= WINDOW_BYTES
    }

    /// Cuts off those that have not got on from this frame.
    pub(super) fn cut_off(&mut self, stalled: usize) {
        self.readers.cut_off(stalled);
        self.trim();
    }
}

impl Drop for State {
    /// A body of a declared length is complete when so much is there, though nobody asked for its end.
    fn drop(&mut self) {
        if let Some(keep) = self.keep.take_if(|keep| keep.is_whole())
            && !std::thread::panicking()
        {
            drop(keep.store(self.whole()));
        }
    }
}
