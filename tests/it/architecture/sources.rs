//! The source files of the crate, and their tokens.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, with its path below `src`.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// A token of the code, with its line number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// Reads all files below `src`.
pub(super) fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort_unstable();
    let source = |path: PathBuf| Source {
        text: fs::read_to_string(&path).expect("text"),
        path: path.strip_prefix(&root).expect("below src").to_owned(),
    };
    paths.into_iter().map(source).collect()
}

impl Source {
    /// Returns `true` if the file is a test module.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.iter().any(|part| part == "tests")
    }

    /// Returns the path of the file's module.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let mut parts: Vec<_> = path.iter().map(|part| part.to_str().expect("text").to_owned()).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
            parts.pop();
        }
        parts
    }

    /// Returns the lines before the test module, which is at the end of a file.
    pub(super) fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
    }

    /// Returns the tokens of the code, without comments. A literal is one token, and so is `::`.
    pub(super) fn tokens(&self) -> Vec<Token<'_>> {
        let end = self.text.find("\n#[cfg(test)]").unwrap_or(self.text.len());
        let (mut tokens, mut rest, mut line) = (Vec::new(), &self.text[..end], 1);
        while let Some(first) = rest.chars().next() {
            let length = token_length(rest, first);
            let (text, behind) = rest.split_at(length);
            if !first.is_whitespace() && !text.starts_with("//") && !text.starts_with("/*") {
                tokens.push(Token { text, line });
            }
            line += text.matches('\n').count();
            rest = behind;
        }
        tokens
    }
}

/// Returns the length of the token, comment or space at the beginning of a text.
fn token_length(text: &str, first: char) -> usize {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let up_to = |end: Option<usize>| end.unwrap_or(text.len());
    match first {
        '/' if text.starts_with("//") => up_to(text.find('\n')),
        '/' if text.starts_with("/*") => up_to(text.find("*/").map(|at| at + 2)),
        ':' if text.starts_with("::") => 2,
        '"' => literal_length(text, '"'),
        'b' if text.starts_with("b\"") => 1 + literal_length(&text[1..], '"'),
        'b' if text.starts_with("b'") => 1 + literal_length(&text[1..], '\''),
        '\'' if is_character(text) => literal_length(text, '\''),
        first if is_of_name(first) => up_to(text.find(|c| !is_of_name(c))),
        first => first.len_utf8(),
    }
}

/// Returns `true` if a text begins with a character literal, not with a lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    characters.next() == Some('\\') || characters.next() == Some('\'')
}

/// Returns the length of a literal, with its quotes.
fn literal_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[test]
fn tokens_are_names_signs_and_literals() {
    let text = "let a = \"b//\\\"c\"; // d\nx::y<'z>('\\'', b\"e\", '\"')\n#[cfg(test)]\nmod tests {}";
    let source = Source { path: PathBuf::from("a/mod.rs"), text: text.to_owned() };
    let tokens = source.tokens();
    let texts: Vec<_> = tokens.iter().map(|token| token.text).collect();
    let second = ["x", "::", "y", "<", "'", "z", ">", "(", "'\\''", ",", "b\"e\"", ",", "'\"'", ")"];
    assert_eq!(texts, [&["let", "a", "=", "\"b//\\\"c\"", ";"][..], &second].concat());
    assert!(
        tokens[..5].iter().all(|token| token.line == 1) && tokens[5..].iter().all(|token| token.line == 2)
    );
    assert_eq!(source.module(), ["a"]);
}
