//! A TCP forwarder between a client and a server. It counts the pieces that clients send, and can
//! cut off, delay or change the replies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Forwards connections, and disturbs the replies of the server.
pub(crate) struct Forwarder {
    pub(crate) port: u16,
    /// While this value is `true`, each reply is cut off after some bytes.
    pub(crate) is_cutting: Arc<AtomicBool>,
    /// The number of pieces that clients have sent.
    pub(crate) sent: Arc<AtomicUsize>,
    /// The delay of each reply in milliseconds.
    pub(crate) delay: Arc<AtomicU64>,
    /// A text in replies, and its replacement of the same length.
    pub(crate) renaming: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

/// The changes to replies.
#[derive(Clone)]
struct Replies {
    is_cutting: Arc<AtomicBool>,
    after: usize,
    delay: Arc<AtomicU64>,
    renaming: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

impl Forwarder {
    pub(crate) fn start(to: u16, after: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (is_cutting, delay, renaming) = (Arc::default(), Arc::default(), Arc::default());
        let sent = Arc::<AtomicUsize>::default();
        let replies = Replies {
            is_cutting: Arc::clone(&is_cutting),
            after,
            delay: Arc::clone(&delay),
            renaming: Arc::clone(&renaming),
        };
        let pieces = Arc::clone(&sent);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { return };
                let copies = (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
                let (pieces, replies) = (Arc::clone(&pieces), replies.clone());
                std::thread::spawn(move || forward(copies.0, copies.1, &pieces));
                std::thread::spawn(move || replies.forward(server, client));
            }
        });
        Self { port, is_cutting, sent, delay, renaming }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Forwards the bytes of a client, and counts the pieces.
fn forward(mut from: TcpStream, mut to: TcpStream, pieces: &AtomicUsize) {
    let mut buffer = [0; 4096];
    while let Ok(length) = from.read(&mut buffer) {
        pieces.fetch_add(1, Ordering::SeqCst);
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    close(&from, &to);
}

fn close(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

impl Replies {
    fn forward(&self, mut from: TcpStream, to: TcpStream) {
        let (pieces, rest) = channel();
        let copies = (from.try_clone().expect("a copy"), to);
        std::thread::spawn(move || deliver(&rest, &copies.0, copies.1));
        let mut buffer = [0; 1 << 16];
        while let Ok(length) = from.read(&mut buffer) {
            let is_cutting = self.is_cutting.load(Ordering::SeqCst);
            let length = if is_cutting { length.min(self.after) } else { length };
            let due = Instant::now() + Duration::from_millis(self.delay.load(Ordering::SeqCst));
            let piece = self.renamed(&buffer[..length]);
            if pieces.send((due, piece)).is_err() || is_cutting || length == 0 {
                break;
            }
        }
    }

    fn renamed(&self, piece: &[u8]) -> Vec<u8> {
        let mut piece = piece.to_vec();
        if let Some((old, new)) = *self.renaming.lock().expect("not poisoned") {
            assert_eq!(old.len(), new.len());
            let found = |at: &usize| piece[*at..].starts_with(old.as_bytes());
            let places: Vec<_> = (0..piece.len()).filter(found).collect();
            for at in places {
                piece[at..at + new.len()].copy_from_slice(new.as_bytes());
            }
        }
        piece
    }
}

/// Delivers each piece when it is due, and closes both connections at the end.
fn deliver(pieces: &Receiver<(Instant, Vec<u8>)>, from: &TcpStream, mut to: TcpStream) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    close(from, &to);
}
