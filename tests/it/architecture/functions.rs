//! The functions of a file, and their lengths.

use super::sources::{Source, Token};

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The number of lines from `fn` to the closing brace.
    pub(super) lines: usize,
}

/// Returns the functions of a file without its tests.
pub(super) fn functions(source: &Source) -> Vec<Function> {
    let tokens = source.tokens();
    (0..tokens.len()).filter_map(|at| function_at(&tokens[at..])).collect()
}

/// Returns the function with which the tokens begin, if it has a body.
fn function_at(tokens: &[Token<'_>]) -> Option<Function> {
    let [Token { text: "fn", line }, name, ..] = tokens else { return None };
    if !name.text.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let mut depth = 0;
    for token in tokens {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return None,
            _ => {}
        }
        if depth == 0 && token.text == "}" {
            return Some(Function { name: name.text.to_owned(), lines: token.line - line + 1 });
        }
    }
    None
}

#[test]
fn length_of_a_function_is_counted_from_fn_to_brace() {
    let text = "trait T { fn a(x: [u8; 2]); }\ntype F = fn(u8);\nfn b(\n) {\n  fn c() {}\n}\n#[cfg(test)]\nfn d() {}";
    let source = Source { path: "a.rs".into(), text: text.to_owned() };
    let found: Vec<_> = functions(&source).into_iter().map(|found| (found.name, found.lines)).collect();
    assert_eq!(found, [("b".to_owned(), 4), ("c".to_owned(), 1)]);
}
