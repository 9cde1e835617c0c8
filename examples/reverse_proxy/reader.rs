//! Time limits for clients that do not read their responses.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

tokio::task_local! {
    /// The time at which hyper took the last piece of the response body, or `None` while hyper
    /// waits for the body. It is set only in the task of an HTTP/2 stream.
    ///
    /// An old time means that the client reads nothing.
    static UNREAD: Cell<Option<Instant>>;
}

/// Runs each HTTP/2 stream in a separate task. If the client reads nothing for `stall_timeout`, the
/// stream is reset and the upstream request is dropped.
#[derive(Debug, Clone)]
pub(crate) struct StreamExecutor {
    pub(crate) stall_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        tokio::spawn(UNREAD.scope(Cell::new(None), run(stream, self.stall_timeout)));
    }
}

async fn run(stream: impl Future, stall_timeout: Duration) {
    let (mut stream, mut stalls) = (pin!(stream), pin!(sleep(stall_timeout)));
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(end) = UNREAD.with(Cell::get).map(|since| since + stall_timeout) else {
            return Poll::Pending;
        };
        if stalls.deadline() != end {
            stalls.as_mut().reset(end);
        }
        stalls.as_mut().poll(cx)
    })
    .await;
}

pin_project! {
    /// The body of a response to a client, in small pieces. hyper polls for the next piece once its
    /// buffer has room.
    #[derive(Debug)]
    pub(crate) struct Pieces<B> {
        #[pin]
        body: B,
        rest: Bytes,
    }
}

/// The size of a piece in bytes. A slow client with many streams must read a piece of each stream
/// before the stream's time limit, so a piece is small.
const PIECE: usize = 4 << 10;

impl<B> Pieces<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes>> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = if this.rest.is_empty() {
            let frame = this.body.poll_frame(cx);
            // An HTTP/1.1 connection has no task per response. [`TimedStream`] limits its writes
            // instead.
            let _ = UNREAD.try_with(|unread| unread.set(frame.is_ready().then(Instant::now)));
            match ready!(frame) {
                Some(Ok(frame)) => frame.into_data().map(|data| *this.rest = data),
                end => return Poll::Ready(end),
            }
        } else {
            let _ = UNREAD.try_with(|unread| unread.set(Some(Instant::now())));
            Ok(())
        };
        Poll::Ready(Some(Ok(match frame {
            Ok(()) => Frame::data(this.rest.split_to(this.rest.len().min(PIECE))),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut with_rest = SizeHint::new();
        with_rest.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            with_rest.set_upper(upper.saturating_add(rest));
        }
        with_rest
    }
}

/// A connection whose writes fail if the peer accepts no bytes in time.
#[derive(Debug)]
pub(crate) struct TimedStream {
    stream: TcpStream,
    stall_timeout: Duration,
    /// The timer of the write in progress. It runs while the peer accepts no bytes.
    stalls: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    pub(crate) fn new(stream: TcpStream, stall_timeout: Duration) -> Self {
        Self { stream, stall_timeout, stalls: None }
    }

    fn in_time(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalls = None;
            return written;
        }
        let stall_timeout = self.stall_timeout;
        let stalls = self.stalls.get_or_insert_with(|| Box::pin(sleep(stall_timeout)));
        stalls.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
    }
}
