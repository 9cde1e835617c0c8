//! The plan of the house: a module uses only what stands below it, and files stay small.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom: a room uses rooms of lower rank, and its own.
const RANKS: &[(&str, u8)] = &[
    ("error", 0),
    ("clock", 0),
    ("rules", 1),
    ("status", 2),
    ("key", 2),
    ("entry", 2),
    ("policy", 3),
    ("store", 3),
    ("marks", 4),
    ("flight", 4),
    ("cache", 5),
    ("body", 6),
    ("serve", 7),
    ("layer", 8),
    ("axum", 9),
    ("waker_relay", 0),
    ("lib", 10),
];

fn sources() -> Vec<(PathBuf, String)> {
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
    let relative = |path: &Path| path.strip_prefix(&root).expect("below src").to_owned();
    paths.iter().map(|path| (relative(path), fs::read_to_string(path).expect("text"))).collect()
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
}

fn room(name: &str) -> Option<(&'static str, u8)> {
    RANKS.iter().find(|(room, _)| *room == name).copied()
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let mut uses = 0;
    for (path, text) in sources() {
        let first = path.iter().next().expect("a part").to_str().expect("text");
        let (own, rank) = room(first.trim_end_matches(".rs")).expect("each room has a rank");
        for line in code(&text).filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let name = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let Some((used, below)) = room(name) else { continue };
                uses += 1;
                assert!(
                    below < rank || used == own || (below == rank && rank <= 3),
                    "{path:?} uses {used}: {line}"
                );
            }
        }
    }
    assert!(uses > 50, "the test reads the use lines: {uses}");
}

#[test]
fn every_module_says_what_it_is_for_and_stays_small() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{path:?} does not say what it is for");
        let lines = code(&text).count();
        assert!(lines <= 350, "{path:?} has {lines} lines");
    }
}

/// Types in macros, which are of one file alone, may share a name; so may the types that belong to a trait.
#[test]
fn type_names_are_defined_once() {
    let mut defined = HashMap::new();
    for (path, text) in sources() {
        for line in code(&text) {
            let line = line
                .strip_prefix("pub ")
                .or_else(|| line.split_once(") ").map(|(_, rest)| rest).filter(|_| line.starts_with("pub(")))
                .unwrap_or(line);
            let kinds = ["struct ", "enum ", "trait ", "type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if let Some(other) = defined.insert(name.clone(), path.clone()) {
                panic!("{name} is defined in {other:?} and in {path:?}");
            }
        }
    }
    assert!(defined.len() > 200, "the test reads the definitions: {}", defined.len());
}
