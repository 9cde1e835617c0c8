//! The types of other crates in public signatures. Each such type binds this crate to a version of
//! the other crate.

use super::sources::Source;
use std::collections::{BTreeMap, BTreeSet};

/// For each other crate, returns its items that public signatures name.
pub(super) fn external(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let imported = imports(source);
        for signature in signatures(source) {
            for name in signature.split(|c: char| !c.is_alphanumeric() && c != '_') {
                if let Some(crate_name) = imported.get(name) {
                    found.entry(crate_name.clone()).or_default().insert(name.to_owned());
                }
            }
        }
    }
    found
}

/// Returns the names of the dependencies of this crate.
fn dependencies() -> Vec<String> {
    let manifest = include_str!("../../../Cargo.toml");
    let names = manifest.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    names.map(|name| name.replace('-', "_")).collect()
}

/// Returns the names that a file imports, with their crates.
fn imports(source: &Source) -> BTreeMap<String, String> {
    let code: Vec<_> = source.code().filter(|line| !line.trim_start().starts_with("//")).collect();
    let (code, dependencies) = (code.join(" "), dependencies());
    let mut names = BTreeMap::new();
    for import in code.split("use ").skip(1) {
        let Some((path, _)) = import.split_once(';') else { continue };
        let Some((crate_name, rest)) = path.split_once("::") else { continue };
        if !dependencies.iter().any(|name| name == crate_name) {
            continue;
        }
        for name in rest.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            names.insert(name.to_owned(), crate_name.to_owned());
        }
    }
    names
}

/// Returns the signatures of public items and of `impl` blocks, with all parameters and bounds.
fn signatures(source: &Source) -> Vec<String> {
    let lines: Vec<_> = source.code().filter(|line| !line.trim_start().starts_with("//")).collect();
    let is_public = |line: &str| {
        let line = line.trim_start();
        line.starts_with("pub ") && !line.starts_with("pub use ") && !line.starts_with("pub mod ")
            || line.starts_with("impl")
    };
    let starts = lines.iter().enumerate().filter(|(_, line)| is_public(line));
    let signature = |(at, _): (usize, &&str)| {
        let end = lines[at..].iter().position(|line| line.contains('{') || line.ends_with(';'));
        lines[at..=at + end.unwrap_or(0)].join(" ")
    };
    starts.map(signature).collect()
}

#[test]
fn names_of_other_crates_are_found_only_in_public_signatures() {
    let text = "use http::{Method, Uri, header::HeaderMap};\nuse std::fmt;\n/// pub fn a(Method)\npub fn b<T>(\n h: &HeaderMap,\n t: T,\n)\nwhere\n T: Copy,\n Uri: From<T>,\n{\n Method\n}";
    let source = Source { path: "a.rs".into(), text: text.to_owned() };
    let found = external(&[source]);
    assert_eq!(found["http"].iter().collect::<Vec<_>>(), ["HeaderMap", "Uri"]);
    assert_eq!(found.len(), 1);
}
