//! What a benchmark comes to: figures with a name and a unit, the ceilings they are held against, and what was left out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use strait::Gpu;

use super::ceiling::Ceilings;

/// A whole report.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// One for each adapter.
    pub adapters: Vec<Run>,
}

/// One adapter.
#[derive(Serialize, Deserialize)]
pub struct Run {
    /// Its name, driver and interface.
    pub adapter: String,
    pub driver: String,
    pub backend: String,
    /// What it offers, as far as strait makes use of it.
    pub features: Vec<String>,
    pub limits: BTreeMap<String, u64>,
    /// Measured on it: multiply-adds in single precision, operations a second, and a copy, bytes a second.
    pub flops: f64,
    pub bytes: f64,
    pub figures: Vec<Figure>,
    /// What was not measured, and why.
    pub left_out: Vec<(String, String)>,
    /// How long all of it took.
    pub seconds: f64,
}

/// One figure.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    pub group: String,
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// Whether more is better.
    pub more: bool,
    /// What it took: seconds, floating-point operations, bytes that must be moved at least. All 0 where that says nothing.
    pub seconds: f64,
    pub flops: u64,
    pub bytes: u64,
    /// Which kernels were used, and the like.
    pub note: String,
}

impl Figure {
    /// A figure for which less is better, such as a time.
    pub fn less(group: &str, name: impl Into<String>, value: f64, unit: &str) -> Figure {
        let (group, unit, note) = (group.into(), unit.into(), String::new());
        Figure { group, name: name.into(), value, unit, more: false, seconds: 0.0, flops: 0, bytes: 0, note }
    }

    /// A figure for which more is better, such as a rate.
    pub fn more(group: &str, name: impl Into<String>, value: f64, unit: &str) -> Figure {
        Figure { more: true, ..Figure::less(group, name, value, unit) }
    }

    /// What it took.
    pub fn took(self, seconds: f64, flops: u64, bytes: u64) -> Figure {
        Figure { seconds, flops, bytes, ..self }
    }

    /// Says more about it.
    pub fn note(self, note: impl Into<String>) -> Figure {
        Figure { note: note.into(), ..self }
    }
}

impl Run {
    /// Nothing measured yet.
    pub fn new(gpu: &Gpu) -> Run {
        let (adapter, limits) = (gpu.adapter().clone(), gpu.limits());
        let has = [
            ("subgroups of one size", limits.subgroup > 0),
            ("integers of 64 bits", limits.int64),
            ("numbers of 16 bits", limits.f16),
            ("timestamps", gpu.has_timestamps()),
        ];
        let numbers = [
            ("bytes of a binding", limits.binding_bytes),
            ("bytes of a buffer", limits.buffer_bytes),
            ("storage buffers of a kernel", limits.storage_buffers as u64),
            ("threads of a subgroup", limits.subgroup.into()),
        ];
        Run {
            adapter: adapter.name,
            driver: adapter.driver,
            backend: adapter.backend,
            features: has.iter().filter(|(_, has)| *has).map(|(name, _)| name.to_string()).collect(),
            limits: numbers.iter().map(|&(name, value)| (name.to_string(), value)).collect(),
            flops: 0.0,
            bytes: 0.0,
            figures: vec![],
            left_out: vec![],
            seconds: 0.0,
        }
    }

    /// Takes over the ceilings, as figures too.
    pub fn set_ceilings(&mut self, ceilings: &Ceilings) {
        (self.flops, self.bytes) = (ceilings.flops, ceilings.bytes);
        let group = "ceilings";
        self.figures.push(Figure::more(group, "multiply-adds, f32", ceilings.flops / 1e9, "Gflop/s"));
        match ceilings.half_flops {
            Some(flops) => self.figures.push(Figure::more(group, "multiply-adds, f16", flops / 1e9, "Gflop/s")),
            None => self.left_out.push(("multiply-adds, f16".into(), "the device has no numbers of 16 bits".into())),
        }
        self.figures.push(Figure::more(group, "copy, bytes read and written", ceilings.bytes / 1e9, "GB/s"));
        for (name, seconds) in [
            ("one dispatch behind another", ceilings.dispatch),
            ("a submit, until it has run", ceilings.submit),
            ("reading four bytes back", ceilings.readback),
        ] {
            self.figures.push(Figure::less(group, name, seconds * 1e6, "microseconds"));
        }
    }

    /// What a figure comes to of what is possible at best: the larger of the shares of both ceilings.
    pub fn share(&self, figure: &Figure) -> Option<f64> {
        let of = |amount: u64, most: f64| amount as f64 / figure.seconds / most;
        let known = figure.seconds > 0.0 && self.flops > 0.0 && self.bytes > 0.0;
        known.then(|| of(figure.flops, self.flops).max(of(figure.bytes, self.bytes)))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {}, {}", self.adapter, self.driver, self.backend)?;
        writeln!(f, "  {}", self.features.join(", "))?;
        let limits: Vec<String> = self.limits.iter().map(|(name, value)| format!("{value} {name}")).collect();
        writeln!(f, "  at most {}", limits.join(", "))?;
        let mut group = "";
        for figure in &self.figures {
            if figure.group != group {
                group = &figure.group;
                writeln!(f, "\n{group}")?;
            }
            let share = self.share(figure).map(|share| format!("{:3.0} % of the ceiling", 100.0 * share));
            let line = format!(
                "  {:<44} {:>12} {:<13} {:<22} {}",
                figure.name,
                number(figure.value),
                figure.unit,
                share.unwrap_or_default(),
                figure.note
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "\nleft out")?;
        }
        for (what, why) in &self.left_out {
            writeln!(f, "  {what}: {why}")?;
        }
        writeln!(f, "\n{:.0} s in all\n", self.seconds)
    }
}

/// Three or four digits, whatever the size.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
