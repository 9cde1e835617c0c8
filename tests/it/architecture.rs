//! Checks of the source files: which module uses which, the sizes of files and functions, and the
//! public interface.

mod functions;
mod imports;
mod public_types;
mod sources;

use functions::functions;
use imports::{cycles, graph};
use sources::sources;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// The ranks of modules. A module uses modules of lower ranks and itself. A module of rank 3 or
/// lower may also use other modules of its own rank.
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
    ("testing", 9),
    ("waker_relay", 0),
    ("cases", 0),
    ("anonymous_only", 10),
    ("cache_headers", 10),
    ("conditional_get", 10),
    ("docs", 10),
    ("inspector", 10),
    ("invalidation", 10),
    ("precondition", 10),
    ("purge", 10),
    ("response_cache", 10),
    ("testing", 10),
    ("values", 10),
    ("lib", 11),
];

/// The rank of each part of `serve`.
const SERVE: &[(&str, u8)] = &[
    ("deadline", 0),
    ("span", 0),
    ("keyed_fields", 0),
    ("config", 1),
    ("nesting", 2),
    ("request", 3),
    ("lookup", 4),
    ("encode", 4),
    ("respond", 5),
    ("admission", 6),
    ("changes", 7),
    ("fetch", 8),
    ("collapse", 9),
    ("write", 10),
    ("classify", 11),
    ("hit_for_miss", 12),
    ("future", 13),
    ("refuse", 14),
    ("explain", 15),
    ("run", 15),
    ("service", 16),
    ("mod", 17),
];

fn module_rank(name: &str) -> Option<(&'static str, u8)> {
    RANKS.iter().find(|(room, _)| *room == name).copied()
}

#[test]
fn a_module_uses_only_modules_of_lower_rank() {
    let mut uses = 0;
    for source in sources().iter().filter(|source| !source.is_test()) {
        let path = &source.path;
        let first = path.iter().next().expect("a part").to_str().expect("text");
        let (own, rank) = module_rank(first.trim_end_matches(".rs")).expect("each module has a rank");
        for line in source.code().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let name = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let Some((used, below)) = module_rank(name) else { continue };
                uses += 1;
                assert!(
                    below < rank || used == own || (below == rank && rank <= 3),
                    "{path:?} uses {used}: {line}"
                );
            }
        }
    }
    assert!(uses > 50, "the test found only {uses} paths to other modules");
}

#[test]
fn a_part_of_serve_uses_only_parts_of_lower_rank() {
    let part = |file: &Path| {
        let inner = file.strip_prefix("serve").ok()?;
        let name = inner.iter().next().expect("a part").to_str().expect("text").trim_end_matches(".rs");
        Some(*SERVE.iter().find(|(part, _)| *part == name).expect("each part has a rank"))
    };
    let mut uses = 0;
    for (file, used) in
        graph(&sources()).iter().flat_map(|(file, all)| all.iter().map(move |used| (file, used)))
    {
        let (Some(own), Some(other)) = (part(file), part(used)) else { continue };
        uses += 1;
        assert!(other.1 < own.1 || other == own, "{file:?} uses {used:?}");
    }
    assert!(uses > 100, "the test found only {uses} imports");
}

#[test]
fn every_file_has_module_docs_and_at_most_350_lines_of_code() {
    for source in sources() {
        let path = &source.path;
        assert!(source.text.starts_with("//! "), "{path:?} has no module docs");
        let lines = source.code().filter(|line| !line.trim_start().starts_with("//")).count();
        assert!(lines <= 350, "{path:?} has {lines} lines of code");
    }
}

/// A re-export alone does not count as an import.
#[test]
fn no_files_import_each_other_in_a_cycle() {
    let graph = graph(&sources());
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(edges > 500, "the test found only {edges} imports");
    let cycles = cycles(&graph);
    assert!(cycles.is_empty(), "{cycles:#?}");
}

#[test]
fn no_function_has_more_than_70_lines() {
    let mut count = 0;
    for source in sources().iter().filter(|source| !source.is_test()) {
        for function in functions(source) {
            count += 1;
            assert!(function.lines <= 70, "{:?}: {function:?}", source.path);
        }
    }
    assert!(count > 1000, "the test found only {count} functions");
}

/// The types of the listed crates are part of this crate's interface, so the list is short.
#[test]
fn public_signatures_name_only_listed_crates() {
    let mut found = public_types::external(&sources());
    // `quick_cache` is found only because of an `impl` for a private type.
    found.remove("quick_cache");
    let crates: Vec<_> = found.keys().map(String::as_str).collect();
    let listed =
        ["axum", "bytes", "http", "http_body", "http_body_util", "serde", "tower", "tower_http", "tracing"];
    assert_eq!(crates, listed, "{found:#?}");
}

/// A public field and an exhaustive enum cannot change later. Each `#[non_exhaustive]` forces a
/// wildcard on users, so it states a reason.
#[test]
fn no_public_fields_and_a_reason_for_each_non_exhaustive() {
    let (mut with_fields, mut open) = (Vec::new(), 0);
    for source in sources() {
        let mut name = "";
        for line in source.code() {
            if let Some(rest) = line.strip_prefix("pub struct ") {
                name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                assert!(!rest.contains("(pub "), "{name} has a public field");
            }
            if line.starts_with("    pub ") && line.ends_with(',') && line.contains(": ") {
                with_fields.push(name.to_owned());
            }
            if let Some(reason) = line.strip_prefix("#[non_exhaustive]") {
                open += 1;
                assert!(reason.starts_with(" // "), "{:?}: {line} without a reason", source.path);
            }
        }
    }
    with_fields.dedup();
    assert_eq!(with_fields, ["RequestHead"], "only a view of a request, like `http::request::Parts`");
    assert!(open > 5, "the test found only {open} attributes");
}

/// Only unindented definitions are compared. An indented definition is local to a macro, or an
/// associated type of a trait.
#[test]
fn type_names_are_defined_once() {
    let mut defined = HashMap::new();
    for source in sources() {
        let path = &source.path;
        for line in source.code() {
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
    assert!(defined.len() > 200, "the test found only {} definitions", defined.len());
}
