//! The import graph of the source files.

use super::sources::{Source, Token};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The path of a module or of an item in it, from the root of the crate.
type ItemPath = Vec<String>;

/// For each file, the files whose items it uses.
pub(super) type Graph = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

/// The paths in a file that lead to other modules.
#[derive(Debug, Default)]
struct Mentions {
    /// The paths of used items.
    used: Vec<ItemPath>,
    /// The paths of re-exported items, each by the name that the item has in this file.
    passed_on: HashMap<String, ItemPath>,
}

/// The files of the crate, by the paths of their modules.
struct Modules<'a>(HashMap<ItemPath, (&'a Path, Mentions)>);

/// Returns the import graph. A re-export alone does not count as a use.
pub(super) fn graph(sources: &[Source]) -> Graph {
    let names: BTreeSet<_> = sources.iter().map(Source::module).collect();
    let mentions = |source| Reader { names: &names, own: Source::module(source) }.read(&source.tokens());
    let modules = sources.iter().map(|source| (source.module(), (&*source.path, mentions(source))));
    let modules = Modules(modules.collect());
    let used = |(path, mentions): &(&Path, Mentions)| {
        let files = mentions.used.iter().map(|used| modules.file_of(used, 0).to_owned());
        (path.to_path_buf(), files.filter(|file| file != path).collect())
    };
    modules.0.values().map(used).collect()
}

/// Returns the part of a graph that lies on cycles.
pub(super) fn cycles(graph: &Graph) -> Graph {
    let reached: BTreeMap<_, _> = graph.keys().map(|file| (file, reached_from(file, graph))).collect();
    let leads_back = |file: &PathBuf, used: &PathBuf| reached.get(used).is_some_and(|all| all.contains(file));
    let cycles = graph.iter().map(|(file, uses)| {
        let uses: BTreeSet<_> = uses.iter().filter(|used| leads_back(file, used)).cloned().collect();
        (file.clone(), uses)
    });
    cycles.filter(|(_, uses)| !uses.is_empty()).collect()
}

/// Returns all files that a file uses, directly or through others.
fn reached_from<'a>(file: &'a PathBuf, graph: &'a Graph) -> BTreeSet<&'a PathBuf> {
    let (mut reached, mut rest) = (BTreeSet::new(), vec![file]);
    while let Some(file) = rest.pop() {
        let new = graph.get(file).into_iter().flatten().filter(|used| reached.insert(*used));
        rest.extend(new);
    }
    reached
}

impl Modules<'_> {
    /// Returns the file of an item or a module.
    fn file_of(&self, path: &[String], depth: usize) -> &Path {
        let known = (0..=path.len()).rev().find_map(|length| Some((length, self.0.get(&path[..length])?)));
        let (length, (file, mentions)) = known.expect("the root is a module");
        match path.get(length).and_then(|name| mentions.passed_on.get(name)) {
            Some(other) if depth < 8 => self.file_of(&[other, &path[length + 1..]].concat(), depth + 1),
            _ => file,
        }
    }
}

/// Reads the paths in one file.
struct Reader<'a> {
    /// All modules.
    names: &'a BTreeSet<ItemPath>,
    own: ItemPath,
}

impl Reader<'_> {
    fn read(&self, tokens: &[Token<'_>]) -> Mentions {
        let mut mentions = Mentions::default();
        let mut single = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "pub" => at += 1 + visibility_length(&tokens[at + 1..]),
                // `use<..>` captures lifetimes, and imports nothing.
                "use" if tokens[at + 1].text != "<" => {
                    let is_passed_on = at > 0 && matches!(tokens[at - 1].text, "pub" | ")");
                    let end = tokens[at..].iter().position(|token| token.text == ";").expect("an end");
                    self.read_use(&tokens[at + 1..at + end], is_passed_on, &mut mentions);
                    at += end;
                }
                _ => {
                    let path = path_at(&tokens[at..]);
                    at += (2 * path.len()).max(2) - 1;
                    match path.len() {
                        0 => {}
                        1 => single.extend(path),
                        _ => mentions.used.extend(self.absolute(&path)),
                    }
                }
            }
        }
        // A use of the name of a re-export counts as a use of the re-exported item.
        let passed_on = &mentions.passed_on;
        mentions.used.extend(single.iter().filter_map(|name| passed_on.get(name)).cloned());
        mentions
    }

    fn read_use(&self, tree: &[Token<'_>], is_passed_on: bool, mentions: &mut Mentions) {
        for mut path in expanded(tree) {
            let alias = path.iter().position(|name| name == "as").map(|at| path.split_off(at).swap_remove(1));
            if path.last().is_some_and(|name| name == "self" || name == "*") {
                path.pop();
            }
            let Some(absolute) = self.absolute(&path) else { continue };
            match (is_passed_on, alias.or_else(|| absolute.last().cloned())) {
                (true, Some(name)) => drop(mentions.passed_on.insert(name, absolute)),
                _ => mentions.used.push(absolute),
            }
        }
    }

    /// Returns a path from the root of this crate, or `None` if it leads to another crate.
    fn absolute(&self, path: &[String]) -> Option<ItemPath> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let child = || [&self.own[..], &path[..1]].concat();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.own, &path[1..]].concat()),
            "super" => Some([&self.own[..self.own.len() - supers], &path[supers..]].concat()),
            _ if self.names.contains(&child()) => Some([&self.own, path].concat()),
            _ => None,
        }
    }
}

/// Returns the number of tokens that belong to a preceding `pub`, as in `pub(crate)`.
fn visibility_length(tokens: &[Token<'_>]) -> usize {
    match tokens.first() {
        Some(Token { text: "(", .. }) => tokens.iter().position(|token| token.text == ")").unwrap_or(0) + 1,
        _ => 0,
    }
}

/// Returns the segments of the path with which the tokens begin.
fn path_at(tokens: &[Token<'_>]) -> ItemPath {
    let is_name = |token: &Token<'_>| token.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut path = Vec::new();
    let mut rest = tokens;
    while let Some(name) = rest.first().filter(|token| is_name(token)) {
        path.push(name.text.to_owned());
        match rest.get(1) {
            Some(Token { text: "::", .. }) => rest = &rest[2..],
            _ => break,
        }
    }
    path
}

/// Returns the paths of the tree of a `use`. A path with an alias ends with `as` and the alias.
fn expanded(tree: &[Token<'_>]) -> Vec<ItemPath> {
    let Some(open) = tree.iter().position(|token| token.text == "{") else {
        let names = tree.iter().filter(|token| token.text != "::");
        return vec![names.map(|token| token.text.to_owned()).collect()];
    };
    let (prefix, inner) = (expanded(&tree[..open]).swap_remove(0), &tree[open + 1..tree.len() - 1]);
    let mut depth = 0;
    let branches = inner.split(|token| {
        depth += i32::from(token.text == "{") - i32::from(token.text == "}");
        depth == 0 && token.text == ","
    });
    let branches = branches.filter(|branch| !branch.is_empty()).flat_map(expanded);
    branches.map(|branch| [&prefix[..], &branch].concat()).collect()
}

fn sample(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source { path: path.into(), text: (*text).to_owned() }).collect()
}

#[test]
fn cycles_are_found_through_re_exports_and_paths_in_code() {
    let lib = ("lib.rs", "mod a; mod b; pub use b::{B, c::{C as D, self}};");
    let table = [
        ("use crate::D;", "", ""),
        ("use crate::D;", "use super::a::A;", ""),
        ("use crate::D;", "", "use crate::a::A;"),
        ("fn f() { crate::D::new() }", "", "fn g() -> crate::a::A {}"),
        ("// crate::D\npub(in crate::b) struct A;", "", "use crate::a::A;"),
        ("pub use crate::D;", "", "use crate::a::A;"),
        ("pub use crate::D; fn f(d: D) {}", "", "use crate::a::A;"),
    ];
    let cycles = table.map(|(a, b, c)| {
        let files = sample(&[lib, ("a.rs", a), ("b/mod.rs", &format!("pub mod c; {b}")), ("b/c.rs", c)]);
        cycles(&graph(&files)).len()
    });
    assert_eq!(cycles, [0, 0, 2, 2, 0, 0, 2]);
}
