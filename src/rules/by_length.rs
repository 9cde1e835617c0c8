//! Lists of names, grouped by length.

/// Returns `true` if a list of constants, grouped by length, contains a name. An example is
/// `is_listed! { name, 2: "te"; 3: "age" "via"; }`.
///
/// The name is compared only with constants of the same length, so a look-up takes a few
/// instructions and no call. A name under the wrong length does not compile.
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

pub(crate) use is_listed;
