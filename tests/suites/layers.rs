//! Who names whom: every `crate::` and `super::` path in src against ARCHITECTURE.md's table of modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Named by everybody.
const COMMON: [&str; 3] = ["error", "random", "state"];

/// What each module may name, by the table.
fn allowed(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let mut table = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [module, _, names] = cells[..] else { panic!("three cells: {row}") };
        let names = names.split(',').map(|name| name.trim().to_string()).filter(|name| name != "–");
        table.insert(module.trim_matches('`').to_string(), names.collect());
    }
    table
}

/// What the crate's root takes from its modules, by name.
fn root(text: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for part in text.split("pub use ").skip(1) {
        let (module, list) = part.split(';').next().and_then(|part| part.split_once("::")).expect("a path");
        for name in list.trim_matches(['{', '}', '\n', ' ']).split(',').map(str::trim).filter(|name| !name.is_empty()) {
            names.insert(name.to_string(), module.to_string());
        }
    }
    names
}

/// The first name of every path that begins with `prefix`, of a group each, outside comments.
fn paths<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |text: &'a str| text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
    // What a star takes may be anything: it is a name that nobody may name.
    let named = |c: char| c.is_alphanumeric() || c == '_' || c == '*';
    let first = |text: &'a str| if text.starts_with('*') { &text[..1] } else { word(text) };
    let mut found = Vec::new();
    for (at, _) in line.match_indices(prefix) {
        if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &line[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                // Names of the outer level only.
                let (mut depth, mut start) = (0, true);
                for (i, c) in group.char_indices() {
                    if start && depth == 0 && named(c) {
                        found.push(first(&group[i..]));
                        start = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' => start = true,
                        _ => {}
                    }
                }
            }
            None => found.push(first(rest)),
        }
    }
    found
}

/// The code of a file without comments, and without what strings and characters have in them, by how many modules within the
/// file it lies in.
fn by_depth(text: &str) -> Vec<String> {
    let (mut found, mut braces, mut rest) = (vec![String::new()], Vec::<bool>::new(), text);
    while let Some(c) = rest.chars().next() {
        let depth = braces.iter().filter(|&&module| module).count();
        found.resize(found.len().max(depth + 1), String::new());
        // What is passed over: a comment, a string as it is, a string, a character.
        let passed = if rest.starts_with("//") {
            Some(rest.find('\n').unwrap_or(rest.len()))
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map(|end| end + 5)
        } else if c == '"' {
            let mut escaped = false;
            let ends = |&(_, c): &(usize, char)| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            };
            rest[1..].char_indices().find(ends).map(|(end, _)| end + 2)
        } else if rest.starts_with("'\\") {
            rest[3..].find('\'').map(|end| end + 4)
        } else if c == '\'' && rest.chars().nth(2) == Some('\'') {
            Some(2 + rest.chars().nth(1).map_or(0, char::len_utf8))
        } else {
            None
        };
        if let Some(passed) = passed {
            found[depth].push(' ');
            rest = &rest[passed..];
            continue;
        }
        if c == '{' {
            let before = found[depth].trim_end();
            let name = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
            let keyword = before[..before.len() - name.len()].trim_end();
            braces.push(!name.is_empty() && keyword.ends_with("mod") && keyword.len() < before.len() - name.len());
        }
        found[depth].push(c);
        if c == '}' {
            braces.pop();
        }
        rest = &rest[c.len_utf8()..];
    }
    found
}

/// What a file names that its module may not: the file's path within src, and its text.
fn violations(
    file: &Path,
    text: &str,
    table: &BTreeMap<String, BTreeSet<String>>,
    root: &BTreeMap<String, String>,
) -> Vec<String> {
    let parts: Vec<&str> = file.iter().map(|part| part.to_str().expect("a name")).collect();
    let module = parts[0].trim_end_matches(".rs");
    // How many `super::` lead from this file out of its module.
    let inside = parts.len() - usize::from(parts.last() == Some(&"mod.rs"));
    let mut found = Vec::new();
    let code = by_depth(text);
    let statements = code.iter().enumerate().flat_map(|(depth, code)| code.split(';').map(move |part| (depth, part)));
    for (depth, statement) in statements {
        let out = format!("{}::", vec!["super"; inside + depth].join("::"));
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let names = paths(&statement, "crate::").into_iter().chain(paths(&statement, &out));
        for name in names.filter(|name| !name.is_empty() && *name != "super") {
            let named = root.get(name).map_or(name, String::as_str);
            let may = COMMON.contains(&named)
                || named == module
                || table.get(module).is_some_and(|allowed| allowed.contains(named));
            if !may {
                found.push(format!("{}: {module} names {named}", file.display()));
            }
        }
        if module != "gpu" && statement.contains("wgpu::") && !statement.contains("gpu::wgpu") {
            found.push(format!("{}: wgpu is named by gpu alone", file.display()));
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.extend(path.extension().is_some_and(|e| e == "rs").then_some(path)),
        }
    }
    found
}

#[test]
fn nobody_names_what_the_table_does_not_allow() {
    let crate_ = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let (table, src) = (allowed(&read(&crate_.join("ARCHITECTURE.md"))), crate_.join("src"));
    let root = root(&read(&src.join("lib.rs")));
    let (mut seen, mut found, mut all) = (BTreeSet::new(), Vec::new(), String::new());
    for path in files(&src) {
        let file = path.strip_prefix(&src).expect("within");
        if file == Path::new("lib.rs") {
            continue;
        }
        seen.insert(
            file.iter().next().and_then(|part| part.to_str()).expect("a name").trim_end_matches(".rs").to_string(),
        );
        let text = read(&path);
        found.extend(violations(file, &text, &table, &root));
        all.extend(
            text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{file:?} {line}\n")),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
    let known: BTreeSet<String> = table.keys().cloned().chain(COMMON.map(String::from)).collect();
    assert_eq!(seen, known, "every module is in the table");
    for (module, name) in table.iter().flat_map(|(module, names)| names.iter().map(move |name| (module, name))) {
        let begins =
            |line: &&str| line.starts_with(&format!("\"{module}/")) || line.starts_with(&format!("\"{module}.rs"));
        let named = all.lines().filter(begins).any(|line| line.contains(&format!("crate::{name}")));
        assert!(named, "{module} may name {name}, and does not");
    }
    // Nobody names itself through others: the table has no cycle.
    for (module, names) in &table {
        let (mut reached, mut next) = (BTreeSet::new(), names.clone());
        while let Some(name) = next.pop_first() {
            if reached.insert(name.clone()) {
                next.extend(table.get(&name).into_iter().flatten().cloned());
            }
        }
        assert!(!reached.contains(module), "{module} comes back to itself");
    }
}

#[test]
fn what_is_planted_is_found() {
    let table = BTreeMap::from([
        ("graph".to_string(), BTreeSet::new()),
        ("plan".to_string(), BTreeSet::from(["graph".to_string()])),
    ]);
    let root = root("pub use gpu::{Gpu, wgpu};\npub use graph::Graph;");
    let count = |file: &str, text: &str| violations(Path::new(file), text, &table, &root).len();
    for text in
        ["use crate::plan::Limits;", "let x = crate::plan::stage::of(a);", "use crate::{error::Error, plan::{A, B}};"]
    {
        assert_eq!((count("graph/node.rs", text), count("plan/stage.rs", text)), (1, 0), "{text}");
    }
    assert_eq!(count("graph/node.rs", "use super::plan::Access;"), 0, "a module within graph");
    assert_eq!(count("graph/node.rs", "use super::super::plan::Access;"), 1);
    assert_eq!(count("graph/mod.rs", "use super::plan::Access;"), 1);
    assert_eq!(count("graph/deep/node.rs", "use super::super::plan::Access;"), 0);
    for star in ["use crate::*;", "use crate::{error::Error, *};", "use super::super::*;"] {
        assert_eq!((count("graph/node.rs", star), count("error.rs", &star.replace("super::super", "super"))), (1, 1));
    }
    assert_eq!(count("graph/node.rs", "use super::*; use crate::error::*; use crate::graph::*;"), 0);
    // A module within a file is one step farther in; a brace in a text is none.
    let within = |path: &str| {
        format!("fn f() -> char {{ let _ = (\"}} \\\" {{\", r#\" {{\" \"#); '{{' }} mod tests {{ use {path}; }}")
    };
    for path in ["super::plan::A", "super::*"] {
        assert_eq!(count("graph/mod.rs", &within(path)), 0, "{path}");
    }
    for path in ["super::super::plan::A", "super::super::*", "crate::plan::A", "crate::*"] {
        assert_eq!(count("graph/mod.rs", &within(path)), 1, "{path}");
    }
    assert_eq!(count("graph/node.rs", &within("super::super::super::plan::A")), 1);
    assert_eq!(count("graph/node.rs", &within("super::super::plan::A")), 0);
    assert_eq!(count("graph/mod.rs", "mod tests { fn f() {} } use super::plan::A;"), 1, "after it");
    assert_eq!(count("graph/node.rs", "fn of(gpu: &crate::Gpu) {}"), 1, "by what the root takes");
    assert_eq!(count("plan/stage.rs", "fn of(graph: &crate::Graph) {}"), 0);
    assert_eq!(count("graph/node.rs", "// as crate::plan::Limits says\n/// [`crate::Gpu`]"), 0);
    assert_eq!(count("plan/stage.rs", "fn of(device: &wgpu::Device) {}"), 1);
}
