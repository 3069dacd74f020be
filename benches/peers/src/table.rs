//! The table: medians, ratios, and whether all computed the same.

use serde_json::{Map, Value, json};

use crate::peer::{NOT, Name};
use crate::statistics;
use crate::turns::{Cell, Row};
use crate::workload::{Task, Workload};

/// The middle one; none of none.
pub fn median(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| statistics::median(values))
}

/// A peer's time by strait's: the median over the rounds of the ratios within each, which slow and fast spells of the
/// machine leave alone; of the medians where a peer had fewer rounds.
fn ratio(row: &Row, cell: &Cell) -> Option<f64> {
    let strait = row.cells.iter().find(|c| c.name == Name::Strait)?;
    if cell.seconds.len() == strait.seconds.len() {
        let each: Vec<f64> = cell.seconds.iter().zip(&strait.seconds).map(|(p, s)| p / s).collect();
        return median(&each);
    }
    Some(median(&cell.seconds)? / median(&strait.seconds)?)
}

/// How far what a peer computed is from what the first one that computed anything did, relative to the largest value of
/// that; none where nothing is compared.
fn apart(workload: &Workload, row: &Row, cell: &Cell) -> Option<f64> {
    let first = row.cells.iter().find(|c| !c.check.is_empty())?;
    if first.name == cell.name || cell.check.is_empty() {
        return None;
    }
    if first.check.len() != cell.check.len() {
        return Some(f64::INFINITY);
    }
    let scale = first.check.iter().fold(0.0, |most: f64, v| most.max(v.abs())).max(f64::MIN_POSITIVE);
    let pairs = || first.check.iter().zip(&cell.check);
    let distance = match workload.tolerance() {
        (_, true) => (pairs().map(|(f, c)| f - c).sum::<f64>() / first.check.len() as f64).abs(),
        // A maximum would pass over what is no number.
        (_, false) if pairs().any(|(f, c)| !(f - c).is_finite()) => f64::INFINITY,
        (_, false) => pairs().map(|(f, c)| (f - c).abs()).fold(0.0, f64::max),
    };
    Some(distance / scale)
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The table's head.
pub fn head(peers: &[Name]) -> String {
    let others: Vec<_> = peers.iter().filter(|&&p| p != Name::Strait).collect();
    let compared = peers.contains(&Name::Strait);
    let mut names: Vec<String> = peers.iter().map(|p| p.text().to_string()).collect();
    if compared {
        names.extend(others.iter().map(|p| format!("{} / strait", p.text())));
    }
    let line = format!("| workload | unit | {} | same result |", names.join(" | "));
    let rule = format!("|{}", "---|".repeat(names.len() + 3));
    format!("{line}\n{rule}")
}

/// A workload's line.
pub fn line(workload: &Workload, row: &Row) -> String {
    let mut fields = vec![workload.name.clone(), workload.unit().to_string()];
    for cell in &row.cells {
        fields.push(match (&cell.trouble, median(&cell.seconds)) {
            (Some(trouble), _) if trouble.starts_with(NOT) => NOT.into(),
            (Some(_), _) => "failed".into(),
            (None, Some(seconds)) => short(workload.figure(seconds)),
            (None, None) => "–".into(),
        });
    }
    if row.cells.iter().any(|c| c.name == Name::Strait) {
        for cell in row.cells.iter().filter(|c| c.name != Name::Strait) {
            fields.push(ratio(row, cell).map_or("–".into(), |r| format!("{}x", short(r))));
        }
    }
    let (tolerance, _) = workload.tolerance();
    let judged: Vec<String> = row.cells.iter().filter_map(|c| Some((c, apart(workload, row, c)?))).fold(
        vec![],
        |mut judged, (cell, apart)| {
            let verdict = if apart <= tolerance { "" } else { ": COMPUTES SOMETHING ELSE" };
            judged.push(format!("{} {apart:.0e}{verdict}", cell.name.text()));
            judged
        },
    );
    fields.push(match workload.task {
        Task::FirstStep(_) => "as train-784".into(),
        _ if judged.is_empty() => "–".into(),
        _ => judged.join(", "),
    });
    format!("| {} |", fields.join(" | "))
}

/// What the table has no room for.
pub fn notes(workload: &Workload, row: &Row) -> Vec<String> {
    let mut notes = vec![];
    for cell in &row.cells {
        if let Some(trouble) = &cell.trouble {
            notes.push(format!("{}, {}: {trouble}", workload.name, cell.name.text()));
        }
        for (fact, value) in cell.facts.iter().filter(|f| f.1.is_number()) {
            let value = value.as_f64().map_or_else(|| value.to_string(), short);
            if let Task::Train(_) = workload.task {
                notes.push(format!("{}, {}: {fact} {value}", workload.name, cell.name.text()));
            }
        }
    }
    notes
}

/// All of it.
pub fn json(workload: &Workload, row: &Row) -> Value {
    let mut peers = Map::new();
    for cell in &row.cells {
        let mut peer = json!({
            "seconds": cell.seconds,
            "median_seconds": median(&cell.seconds),
            "figure": median(&cell.seconds).map(|s| workload.figure(s)),
            "computed": cell.check,
            "facts": cell.facts,
        });
        if let Some(trouble) = &cell.trouble {
            peer["trouble"] = trouble.as_str().into();
        }
        if cell.name != Name::Strait {
            peer["times_strait"] = ratio(row, cell).into();
        }
        if let Some(apart) = apart(workload, row, cell) {
            peer["apart"] = apart.into();
            peer["same"] = (apart <= workload.tolerance().0).into();
        }
        peers.insert(cell.name.text().into(), peer);
    }
    let (tolerance, of_the_mean) = workload.tolerance();
    let unit = workload.unit();
    let (name, steps) = (&workload.name, row.steps);
    json!({
        "workload": name, "unit": unit, "steps_a_round": steps, "tolerance": tolerance,
        "tolerance_is_of_the_mean": of_the_mean, "peers": peers,
    })
}
