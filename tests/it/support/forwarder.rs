//! A forwarder between a client and a server, which counts and cuts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Forwards one connection after the other, and cuts replies off after some bytes.
pub(crate) struct Forwarder {
    pub(crate) port: u16,
    pub(crate) is_cutting: Arc<AtomicBool>,
    /// The number of pieces that clients have sent.
    pub(crate) sent: Arc<AtomicUsize>,
}

impl Forwarder {
    pub(crate) fn start(to: u16, after: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let is_cutting = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let (cuts, pieces) = (Arc::clone(&is_cutting), Arc::clone(&sent));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { return };
                let copies = (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
                let (cuts, pieces) = (Arc::clone(&cuts), Arc::clone(&pieces));
                std::thread::spawn(move || forward(copies.0, copies.1, None, &pieces));
                std::thread::spawn(move || {
                    forward(server, client, Some(&(cuts, after)), &AtomicUsize::new(0))
                });
            }
        });
        Self { port, is_cutting, sent }
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    cut: Option<&(Arc<AtomicBool>, usize)>,
    pieces: &AtomicUsize,
) {
    let mut buffer = [0; 4096];
    while let Ok(length) = from.read(&mut buffer) {
        pieces.fetch_add(1, Ordering::SeqCst);
        let cut = cut.filter(|(cuts, _)| cuts.load(Ordering::SeqCst)).map(|(_, after)| *after);
        let sent = to.write_all(&buffer[..length.min(cut.unwrap_or(usize::MAX))]);
        if length == 0 || sent.is_err() || cut.is_some() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
