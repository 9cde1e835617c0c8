//! A limit on the number of interim responses (RFC 9110 section 15.2) that an upstream may send.
//!
//! For HTTP/1.1, hyper reports each interim response to [`Interim`]. For HTTP/2, [`UpstreamStream`]
//! counts header sections in the received bytes.

use super::reader::TimedStream;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The maximum number of interim responses to one request.
pub(crate) const MAX_INTERIM: usize = 100;

tokio::task_local! {
    /// The number of interim responses to the current request, in the task of its connection.
    static COUNT: Cell<usize>;
}

/// The number of interim responses to one HTTP/1.1 request.
pub(crate) struct Interim(Arc<AtomicUsize>);

impl Interim {
    /// Starts to count the interim responses to a request.
    pub(crate) fn count<B>(request: &mut http::Request<B>) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        hyper::ext::on_informational(request, move |_| {
            let received = counted.fetch_add(1, Ordering::Relaxed) + 1;
            // The task of the connection runs this function. If the count exceeds the maximum, the
            // next read of the connection fails.
            let _ = COUNT.try_with(|count| count.set(received));
        });
        Self(count)
    }

    /// Returns `true` if there were too many interim responses.
    pub(crate) fn is_excessive(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_INTERIM
    }
}

/// Runs each HTTP/1.1 connection in a task that counts interim responses.
#[derive(Debug, Clone)]
pub(crate) struct CountingExecutor;

impl<F> hyper::rt::Executor<F> for CountingExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, connection: F) {
        tokio::spawn(COUNT.scope(Cell::new(0), connection));
    }
}

/// A connection to the upstream. Its reads fail after too many interim responses. The limit is here
/// because hyper reads all interim responses before it polls anything else.
#[derive(Debug)]
pub(crate) struct UpstreamStream {
    stream: TokioIo<TimedStream>,
    /// Counts the header sections of an HTTP/2 connection. `None` for HTTP/1.1, which uses
    /// [`COUNT`].
    heads: Option<Heads>,
}

impl UpstreamStream {
    pub(crate) fn new(stream: TimedStream, http2: bool) -> Self {
        Self { stream: TokioIo::new(stream), heads: http2.then(Heads::default) }
    }
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if COUNT.try_with(Cell::get).is_ok_and(|count| count > MAX_INTERIM) {
            return Poll::Ready(Err(too_many()));
        }
        let this = &mut *self;
        let Some(heads) = &mut this.heads else { return Pin::new(&mut this.stream).poll_read(cx, buf) };
        // Reads into a local buffer first, because the bytes in `buf` can't be read back without
        // `unsafe`.
        let mut read = [0; 8 << 10];
        let most = buf.remaining().min(read.len());
        let mut read = ReadBuf::new(&mut read[..most]);
        ready!(Pin::new(this.stream.inner_mut()).poll_read(cx, &mut read))?;
        heads.see(read.filled())?;
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.inner_mut()).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.inner_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.inner_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.inner().is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.inner_mut()).poll_write_vectored(cx, bufs)
    }
}

/// The maximum number of streams whose header sections are counted. Beyond this number, the oldest
/// stream is no longer counted.
const MAX_STREAMS: usize = 10_000;

/// Counts the header sections of each HTTP/2 stream until its content begins. All sections but the
/// last one belong to interim responses. The type of each frame is in its header (RFC 9113 section
/// 4.1).
#[derive(Debug, Default)]
struct Heads {
    /// The bytes of the current frame header that were read so far.
    head: Vec<u8>,
    /// The number of payload bytes of the current frame that are still to be skipped.
    payload: usize,
    counts: BTreeMap<u32, usize>,
}

impl Heads {
    fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let (head, rest) = bytes.split_at(bytes.len().min(9 - self.head.len()));
            self.head.extend_from_slice(head);
            bytes = rest;
            if let Ok([a, b, c, kind, flags, stream @ ..]) = <[u8; 9]>::try_from(&self.head[..]) {
                self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
                self.head.clear();
                self.count(kind, flags, u32::from_be_bytes(stream))?;
            }
        }
        Ok(())
    }

    fn count(&mut self, kind: u8, flags: u8, stream: u32) -> io::Result<()> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const END_STREAM: u8 = 1;
        match kind {
            HEADERS => {
                let count = self.counts.entry(stream).or_default();
                *count += 1;
                // The last header section belongs to the final response.
                if *count > MAX_INTERIM + 1 {
                    return Err(too_many());
                }
                if flags & END_STREAM != 0 {
                    self.counts.remove(&stream);
                } else if self.counts.len() > MAX_STREAMS {
                    self.counts.pop_first();
                }
            }
            DATA | RST_STREAM => drop(self.counts.remove(&stream)),
            _ => {}
        }
        Ok(())
    }
}

fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "too many interim responses")
}
