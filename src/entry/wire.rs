//! The encoding of the parts of a frame, and their decoding from untrusted bytes.

use super::packing::SPARE;
use crate::clock::{Clock, Moment, WallOffset};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::Duration;

/// A buffer for the encoded parts.
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    clocks: WallOffset,
}

impl Writer {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { bytes: Vec::with_capacity(256), clocks: clock.wall_offset() }
    }

    /// Writes a length. A length over `u32::MAX` makes a frame that decoding refuses.
    fn length(&mut self, length: usize) {
        u32::try_from(length).unwrap_or(u32::MAX).write(self);
    }
}

/// A reader of the payload of a frame: the bytes after its checksum.
pub(super) struct EntryReader {
    bytes: Bytes,
    /// The number of bytes in the whole payload.
    length: usize,
    clocks: WallOffset,
    keeps_slices: bool,
}

impl EntryReader {
    pub(super) fn new(bytes: Bytes, clock: &Clock) -> Self {
        Self { length: bytes.len(), bytes, clocks: clock.wall_offset(), keeps_slices: false }
    }

    /// Creates a reader of an entry whose parts may keep the whole frame in memory.
    #[cfg(feature = "redis")]
    pub(super) fn of_slices(bytes: Bytes, clock: &Clock) -> Self {
        Self { keeps_slices: true, ..Self::new(bytes, clock) }
    }

    /// Returns `true` if header values and bodies stay slices of the frame.
    pub(super) fn keeps_slices(&self) -> bool {
        self.keeps_slices
    }

    /// Returns the remaining bytes. Copies them unless they are nearly all of the frame, since a
    /// slice keeps the whole frame in memory.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.bytes);
        if self.keeps_slices {
            return rest;
        }
        if self.length - rest.len() > rest.len() / SPARE { Bytes::copy_from_slice(&rest) } else { rest }
    }

    /// Reads a length, and returns a slice of that many bytes. The slice keeps the whole frame in
    /// memory. Returns `None` if fewer bytes remain.
    fn part(&mut self) -> Option<Bytes> {
        let length = self.count(1)?;
        Some(self.bytes.split_to(length))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads the number of items that follow. An item takes at least `least` bytes. Returns `None`
    /// if the remaining bytes cannot hold that many items.
    fn count(&mut self, least: usize) -> Option<usize> {
        let count = u32::read(self)? as usize;
        (count <= self.bytes.len() / least).then_some(count)
    }
}

/// A type with an encoding in frames.
pub(super) trait Wire: Sized {
    /// The fewest bytes that a value takes.
    const MIN_LEN: usize;

    fn write(&self, to: &mut Writer);

    /// Returns `None` if the bytes are too few or malformed.
    fn read(from: &mut EntryReader) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ident: $get:ident),*) => {$(
        impl Wire for $number {
            const MIN_LEN: usize = size_of::<Self>();

            fn write(&self, to: &mut Writer) {
                to.bytes.extend(self.to_le_bytes());
            }

            fn read(from: &mut EntryReader) -> Option<Self> {
                from.bytes.$get().ok()
            }
        }
    )*};
}

numbers!(u8: try_get_u8, u16: try_get_u16_le, u32: try_get_u32_le, u64: try_get_u64_le, i64: try_get_i64_le);

/// Implements [`Wire`] for structs: their fields follow each other.
macro_rules! record {
    ($($name:ident { $($field:ident: $part:ty),* $(,)? })*) => {$(
        impl Wire for $name {
            const MIN_LEN: usize = 0 $(+ <$part as Wire>::MIN_LEN)*;

            fn write(&self, to: &mut Writer) {
                $(self.$field.write(to);)*
            }

            fn read(from: &mut EntryReader) -> Option<Self> {
                $(let $field = <$part as Wire>::read(from)?;)*
                Some(Self { $($field),* })
            }
        }
    )*};
}

pub(super) use record;

impl Wire for bool {
    const MIN_LEN: usize = 1;

    fn write(&self, to: &mut Writer) {
        u8::from(*self).write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        match u8::read(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    const MIN_LEN: usize = 1;

    fn write(&self, to: &mut Writer) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        if bool::read(from)? { T::read(from).map(Some) } else { Some(None) }
    }
}

impl<T: Wire> Wire for Box<T> {
    const MIN_LEN: usize = T::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        T::write(self, to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        T::read(from).map(Box::new)
    }
}

impl<T: Wire> Wire for Box<[T]> {
    const MIN_LEN: usize = u32::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        to.length(self.len());
        self.iter().for_each(|item| item.write(to));
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        let count = from.count(T::MIN_LEN)?;
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<T: Wire> Wire for Vec<T> {
    const MIN_LEN: usize = u32::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        to.length(self.len());
        self.iter().for_each(|item| item.write(to));
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        Box::<[T]>::read(from).map(Self::from)
    }
}

impl Wire for Bytes {
    const MIN_LEN: usize = u32::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        to.length(self.len());
        to.bytes.extend_from_slice(self);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        from.part().map(|part| Bytes::copy_from_slice(&part))
    }
}

impl Wire for HeaderName {
    const MIN_LEN: usize = u32::MIN_LEN + 1;

    fn write(&self, to: &mut Writer) {
        to.length(self.as_str().len());
        to.bytes.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        Self::from_lowercase(&from.part()?).ok()
    }
}

impl Wire for HeaderValue {
    const MIN_LEN: usize = bool::MIN_LEN + u32::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        self.is_sensitive().write(to);
        to.length(self.len());
        to.bytes.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        let sensitive = bool::read(from)?;
        let mut value = Self::from_maybe_shared(from.part()?).ok()?;
        value.set_sensitive(sensitive);
        Some(value)
    }
}

impl Wire for (HeaderName, HeaderValue) {
    const MIN_LEN: usize = HeaderName::MIN_LEN + HeaderValue::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        Some((HeaderName::read(from)?, HeaderValue::read(from)?))
    }
}

/// The most lines of a decoded header section. A header map can hold more lines, so fields can be
/// added later.
pub(super) const MAX_LINES: usize = 1 << 14;

impl Wire for HeaderMap {
    const MIN_LEN: usize = u32::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        to.length(self.len());
        for (name, value) in self {
            name.write(to);
            value.write(to);
        }
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        let count = from.count(<(HeaderName, HeaderValue)>::MIN_LEN)?;
        if count > MAX_LINES {
            return None;
        }
        let mut headers = Self::with_capacity(count);
        for _ in 0..count {
            headers.try_append(HeaderName::read(from)?, HeaderValue::read(from)?).ok()?;
        }
        Some(headers)
    }
}

impl Wire for StatusCode {
    const MIN_LEN: usize = u16::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        self.as_u16().write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        Self::from_u16(u16::read(from)?).ok()
    }
}

impl Wire for Duration {
    const MIN_LEN: usize = u64::MIN_LEN + u32::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        self.as_secs().write(to);
        self.subsec_nanos().write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        let (seconds, nanos) = (u64::read(from)?, u32::read(from)?);
        (nanos < 1_000_000_000).then(|| Self::new(seconds, nanos))
    }
}

impl Wire for Moment {
    const MIN_LEN: usize = u64::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        to.clocks.wall_millis(*self).write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        Some(from.clocks.moment(u64::read(from)?))
    }
}
