//! What the documents show can be copied: every Rust block is a whole program as it is seen, where pages are rendered
//! without rustdoc too. That they compile is tested with the documentation, which takes each of them as it stands.

const DOCUMENTS: [(&str, &str); 3] = [
    ("README.md", include_str!("../../README.md")),
    ("ARCHITECTURE.md", include_str!("../../ARCHITECTURE.md")),
    ("CONTRIBUTING.md", include_str!("../../CONTRIBUTING.md")),
];

/// A block between fences: the line it begins in, what is written behind the fence, its lines.
struct Block<'a> {
    line: usize,
    info: &'a str,
    lines: Vec<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (vec![], None);
    for (i, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { line: i + 1, info: info.trim(), lines: vec![] }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    blocks
}

/// What keeps a block from compiling where somebody copies it as it is seen, though rustdoc takes it.
fn faults(block: &Block) -> Vec<String> {
    let words: Vec<&str> = block.info.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return vec!["says no language, so rustdoc takes it for Rust".into()];
    }
    if words[0] != "rust" {
        return vec![];
    }
    let mut faults = Vec::new();
    if let Some(word) = words[1..].iter().find(|word| **word != "no_run") {
        faults.push(format!("is marked {word}, so that it need not compile as it stands"));
    }
    let hidden =
        |line: &&&str| matches!(line.trim_start().strip_prefix('#'), Some(rest) if !rest.starts_with(['[', '!']));
    if let Some(line) = block.lines.iter().find(hidden) {
        faults.push(format!("has a line that only rustdoc hides: {line}"));
    }
    if !block.lines.iter().any(|line| line.starts_with("fn main()")) {
        faults.push("has no main, which rustdoc would add".into());
    }
    faults
}

#[test]
fn every_rust_block_is_a_whole_program() {
    let mut count = 0;
    for (name, text) in DOCUMENTS {
        for block in blocks(text) {
            let faults = faults(&block);
            assert!(faults.is_empty(), "{name}, line {}: {faults:?}", block.line);
            count += usize::from(block.info.starts_with("rust"));
        }
    }
    assert!(count >= 2, "{count} blocks");
}

/// A look that finds nothing is worth nothing.
#[test]
fn what_cannot_be_copied_is_found() {
    for (text, found) in [
        ("```rust\nfn main() {\n    # let _ = 1;\n}\n```", "hides"),
        ("```rust\nlet x = 1;\n# Ok::<(), ()>(())\n```", "hides"),
        ("```rust\nfn main() {}\n#\n```", "hides"),
        ("```rust,no_run\nspec.check()?;\n```", "no main"),
        ("```rust,ignore\nfn main() {}\n```", "ignore"),
        ("```rust,compile_fail\nfn main() {}\n```", "compile_fail"),
        ("```\nfn main() {}\n```", "no language"),
    ] {
        let all = blocks(text).iter().flat_map(faults).collect::<Vec<_>>().join("; ");
        assert!(all.contains(found), "{text}: {all}");
    }
    for text in ["```rust,no_run\n#![allow(unused)]\n#[test]\nfn main() {}\n```", "```sh\n# a comment\n```"] {
        assert!(blocks(text).iter().all(|block| faults(block).is_empty()), "{text}");
    }
}
