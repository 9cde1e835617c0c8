//! The byte format of a record: numbers, digests, and a checksum over all bytes.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

const CHECKSUM: usize = 8;
/// The key of the checksum, the same in every process: "tower-response-c".
const KEYS: (u64, u64) = (0x746f_7765_722d_7265, 0x7370_6f6e_7365_2d63);

/// Writes a number in groups of seven bits, the lowest first.
pub(super) fn number(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends the checksum of the written bytes.
pub(super) fn seal(to: &mut Vec<u8>) {
    to.extend(checksum(to));
}

/// Returns the bytes before the checksum. Returns `None` if a byte was changed or cut off.
pub(super) fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (written, stated) = bytes.split_last_chunk::<CHECKSUM>()?;
    (checksum(written) == *stated).then_some(written)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}

/// A reader of a record's bytes. Its methods return `None` if too few bytes are left, or if they
/// are malformed.
pub(super) struct RecordReader<'a>(pub(super) &'a [u8]);

impl RecordReader<'_> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn fixed(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let [byte] = self.bytes()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
