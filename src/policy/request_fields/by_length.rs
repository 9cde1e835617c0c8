//! Lists of names, ordered by length.

/// Returns `true` if a name is in a list.
///
/// Compares the name with those of its length alone, and with constants: a look-up takes a few instructions and no call.
/// A name in the list of another length does not compile.
macro_rules! is_listed {
    ($name:ident, $($length:literal: $($known:literal)+;)+) => {{
        const _: () = {
            $($(assert!($known.len() == $length);)+)+
        };
        match $name.len() {
            $($length => matches!($name, $($known)|+),)+
            _ => false,
        }
    }};
}

pub(super) use is_listed;
