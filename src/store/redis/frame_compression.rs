//! The compression of large frames in the server.
//!
//! ```text
//! magic and version (4) | bit 63, and the length of the rest of the frame (8) | the rest, by zstd
//! ```
//!
//! In a plain frame, bit 63 of the same field is never set. The first bytes stay as they are, because
//! the scripts of the server read them.

use crate::entry::Entry;
use bytes::Bytes;

/// Which frames are compressed. Every process with the feature `redis-zstd` expands compressed frames.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FrameCompression {
    /// Frames of more bytes are compressed. `None` means that no frame is.
    pub(super) above: Option<u64>,
}

/// The bytes before the compressed ones.
const HEAD: usize = Entry::FRAME_START.len() + size_of::<u64>();
/// The bit that marks a compressed frame.
const IS_COMPRESSED: u64 = 1 << 63;
/// The most bytes of a frame that is compressed or expanded. The work for a larger frame would keep a
/// thread of the runtime busy for too long.
const MOST_BYTES: u64 = 1 << 20;

impl FrameCompression {
    /// Returns the frame as it is stored in the server.
    pub(super) fn compress(self, frame: Bytes) -> Bytes {
        let length = frame.len() as u64;
        match self.above {
            Some(above) if above < length && length <= MOST_BYTES => compressed(&frame).unwrap_or(frame),
            _ => frame,
        }
    }
}

/// Returns a frame from the server as it was before its compression. Returns `None` for a compressed
/// frame that is malformed, or longer than a compressed frame may be.
pub(super) fn expand(frame: Bytes) -> Option<Bytes> {
    let Some(field) = frame.get(Entry::FRAME_START.len()..HEAD) else { return Some(frame) };
    let field = u64::from_le_bytes(field.try_into().ok()?);
    if field & IS_COMPRESSED == 0 {
        return Some(frame);
    }
    let length = field & !IS_COMPRESSED;
    if length > MOST_BYTES {
        return None;
    }
    expanded(&frame, usize::try_from(length).ok()?)
}

/// Compresses a frame. Returns `None` if that does not save an eighth.
#[cfg(feature = "redis-zstd")]
fn compressed(frame: &[u8]) -> Option<Bytes> {
    /// A fast level: the write waits for the compression.
    const LEVEL: i32 = 1;
    let (start, rest) = frame.split_at_checked(Entry::FRAME_START.len())?;
    let packed = zstd::bulk::compress(rest, LEVEL).ok()?;
    let field = IS_COMPRESSED | rest.len() as u64;
    let whole = [start, &field.to_le_bytes(), &packed].concat();
    (whole.len() < frame.len() - frame.len() / 8).then(|| whole.into())
}

#[cfg(not(feature = "redis-zstd"))]
fn compressed(_: &[u8]) -> Option<Bytes> {
    None
}

/// Expands the compressed bytes of a frame to this length.
#[cfg(feature = "redis-zstd")]
fn expanded(frame: &[u8], length: usize) -> Option<Bytes> {
    let (start, _) = frame.split_at_checked(Entry::FRAME_START.len())?;
    // The result has at most `length` bytes, whatever the compressed bytes state.
    let rest = zstd::bulk::decompress(frame.get(HEAD..)?, length).ok()?;
    (rest.len() == length).then(|| [start, &rest].concat().into())
}

#[cfg(not(feature = "redis-zstd"))]
fn expanded(_: &[u8], _: usize) -> Option<Bytes> {
    None
}

#[cfg(all(test, feature = "redis-zstd"))]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const ALL: FrameCompression = FrameCompression { above: Some(0) };

    fn frame(text: impl Into<Bytes>) -> Bytes {
        Entry::raw(text).encode(&Clock::system())
    }

    /// Returns bytes that zstd cannot compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn compressed_frame_expands_to_the_same_bytes() {
        for length in [100, 4096, 1 << 19] {
            let plain = frame("vanilla ".repeat(length / 8));
            let stored = ALL.compress(plain.clone());
            assert!(stored.len() < plain.len() / 2 && stored.starts_with(&Entry::FRAME_START), "{length}");
            assert_eq!(expand(stored), Some(plain));
        }
    }

    #[test]
    fn frame_stays_plain_if_compression_gains_little() {
        let text = "vanilla ".repeat(100);
        for (compression, plain) in [
            (ALL, frame(noise(5000))),
            (ALL, frame("")),
            (ALL, frame(vec![0; 2 << 20])),
            (FrameCompression { above: Some(10_000) }, frame(text.clone())),
            (FrameCompression::default(), frame(text)),
        ] {
            assert_eq!(compression.compress(plain.clone()), plain);
            assert_eq!(expand(plain.clone()), Some(plain));
        }
    }

    #[test]
    fn malformed_compressed_frames_are_refused() {
        let whole = ALL.compress(frame("vanilla ".repeat(500)));
        for length in HEAD..whole.len() {
            assert_eq!(expand(whole.slice(..length)), None, "{length}");
        }
        let stated = |length: u64| {
            let field = (IS_COMPRESSED | length).to_le_bytes();
            expand([&whole[..4], &field, &whole[HEAD..]].concat().into())
        };
        let length = u64::from_le_bytes(whole[4..HEAD].try_into().expect("8 bytes")) & !IS_COMPRESSED;
        assert!(stated(length).is_some());
        for other in [0, 1, length - 1, length + 1, MOST_BYTES + 1, u64::MAX >> 1] {
            assert_eq!(stated(other), None, "{other}");
        }
    }

    /// A few bytes that expand to very many.
    #[test]
    fn result_is_bounded_by_the_stated_length() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).expect("in memory");
        let field = (IS_COMPRESSED | 1000).to_le_bytes();
        let stored = [&Entry::FRAME_START[..], &field, &bomb].concat();
        assert_eq!(expand(stored.into()), None);
    }
}
