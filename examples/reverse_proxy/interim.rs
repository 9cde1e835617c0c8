//! Interim responses (RFC 9110 section 15.2): an upstream may send some, but not without end.

use super::reader::PatientStream;
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

/// The number of interim responses to one request.
pub(crate) const MAX_INTERIM: usize = 100;

tokio::task_local! {
    /// The number of interim responses to the current request, in the task of its connection.
    static COUNT: Cell<usize>;
}

/// The number of interim responses to one request of HTTP/1.1.
pub(crate) struct Interim(Arc<AtomicUsize>);

impl Interim {
    /// Counts those to a request.
    pub(crate) fn count<B>(request: &mut http::Request<B>) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        hyper::ext::on_informational(request, move |_| {
            let received = counted.fetch_add(1, Ordering::Relaxed) + 1;
            // Without the task of a connection there is nothing to end.
            let _ = COUNT.try_with(|count| count.set(received));
        });
        Self(count)
    }

    /// Returns `true` if there were too many, though the final response came with the last of them.
    pub(crate) fn is_excessive(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_INTERIM
    }
}

/// Runs connections of HTTP/1.1, each in a task that counts.
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

/// A connection with the upstream. It fails once there are too many interim responses: hyper would read all that there
/// are before anything else has its turn.
#[derive(Debug)]
pub(crate) struct UpstreamStream {
    stream: TokioIo<PatientStream>,
    /// Of HTTP/2 alone.
    heads: Option<Heads>,
}

impl UpstreamStream {
    pub(crate) fn new(stream: PatientStream, http2: bool) -> Self {
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
        // Without `unsafe`, what is read can't be seen in the caller's buffer.
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

/// The streams whose heads are counted; the oldest are over.
const MAX_STREAMS: usize = 10_000;

/// Counts the header sections of each stream of HTTP/2 until its content begins, by the heads of frames (RFC 9113
/// section 4.1).
#[derive(Debug, Default)]
struct Heads {
    /// As much of the head of a frame as was read.
    head: Vec<u8>,
    /// The bytes of payload that follow.
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
                // The last one is that of the final response.
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
