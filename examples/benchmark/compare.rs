//! Two reports side by side.

use std::path::Path;

use super::figure::{Report, Run, number};
use super::outcome::Outcome;

/// Prints every figure that both reports have, and how many times as good the second one's is.
pub fn print(a: &Path, b: &Path) -> Outcome {
    let [first, second] = [read(a)?, read(b)?];
    let (Some(first), Some(second)) = (pick(&first, a)?, pick(&second, b)?) else { return Ok(()) };
    println!("A  {}, {}\nB  {}, {}\n", first.adapter, first.driver, second.adapter, second.driver);
    println!("{:<14} {:<44} {:>12} {:>12} {:<13} {:>9}", "", "", "A", "B", "", "B is");
    let mut alone = Vec::new();
    for figure in &first.figures {
        let same = |other: &&super::figure::Figure| (&other.group, &other.name) == (&figure.group, &figure.name);
        let Some(other) = second.figures.iter().find(same) else {
            alone.push(format!("A alone: {}, {}", figure.group, figure.name));
            continue;
        };
        let better = if figure.more { other.value / figure.value } else { figure.value / other.value };
        println!(
            "{:<14} {:<44} {:>12} {:>12} {:<13} {better:>8.2}x",
            figure.group,
            figure.name,
            number(figure.value),
            number(other.value),
            figure.unit
        );
    }
    let known = |group: &str, name: &str| first.figures.iter().any(|f| f.group == group && f.name == name);
    let only_second = second.figures.iter().filter(|f| !known(&f.group, &f.name));
    alone.extend(only_second.map(|f| format!("B alone: {}, {}", f.group, f.name)));
    alone.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn read(path: &Path) -> Outcome<Report> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_str(&text).map_err(|e| format!("{} is no report of this benchmark: {e}", path.display()))?)
}

/// The report's first adapter.
fn pick<'a>(report: &'a Report, path: &Path) -> Outcome<Option<&'a Run>> {
    if report.adapters.len() > 1 {
        eprintln!("{} has {} adapters; its first is compared", path.display(), report.adapters.len());
    }
    match report.adapters.first() {
        Some(run) => Ok(Some(run)),
        None => Err(format!("{} has no adapter", path.display()).into()),
    }
}
