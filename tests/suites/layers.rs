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
                    if start && depth == 0 && (c.is_alphanumeric() || c == '_') {
                        found.push(word(&group[i..]));
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
            None => found.push(word(rest)),
        }
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
    let out = format!("{}::", vec!["super"; inside].join("::"));
    let mut found = Vec::new();
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    for statement in code.split(';') {
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
    assert_eq!(count("graph/node.rs", "fn of(gpu: &crate::Gpu) {}"), 1, "by what the root takes");
    assert_eq!(count("plan/stage.rs", "fn of(graph: &crate::Graph) {}"), 0);
    assert_eq!(count("graph/node.rs", "// as crate::plan::Limits says\n/// [`crate::Gpu`]"), 0);
    assert_eq!(count("plan/stage.rs", "fn of(device: &wgpu::Device) {}"), 1);
}
