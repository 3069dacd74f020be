//! Kernels: the WGSL files of shaders/, the text that is generated into them, and what naga reads out of the result.

mod matmul;
mod reflect;

use std::collections::BTreeSet;

use crate::error::{Error, Result};

pub(crate) use matmul::AHEAD;
pub use matmul::{SUBGROUP, Tile};
pub use reflect::{Binding, Reflection, Space, reflect};

/// What every kernel may use: the types, the state and the scalar functions.
const PRELUDE: &str = "alias T = vec4<f32>;\n";
/// Four neighbouring values as two words of 64 bits: software adapters take a value at a time, whatever its size.
const WIDE: &str = include_str!("../../shaders/wide.wgsl");
/// Always 0, which compilers cannot know. It is added to the bounds of loops that would else be uniform: Mesa's software
/// driver compiles such a kernel anew in every dispatch, with the bound as a constant, where that unrolls the loop.
const NONE: &str = "var<private> none: u32;\n";
const STATE: &str = include_str!("../../shaders/state.wgsl");
const SCALAR: &str = include_str!("../../shaders/scalar.wgsl");
const ANGLE: &str = include_str!("../../shaders/angle.wgsl");
const RANDOM: &str = include_str!("../../shaders/random.wgsl");
const TOTAL: &str = include_str!("../../shaders/total.wgsl");
const MAP: &str = include_str!("../../shaders/map.wgsl");
const REDUCE_COLUMNS: &str = include_str!("../../shaders/reduce_columns.wgsl");
const REDUCE_ROWS: &str = include_str!("../../shaders/reduce_rows.wgsl");
const MATMUL_REGISTERS: &str = include_str!("../../shaders/matmul_registers.wgsl");
const MATMUL_SHARED: &str = include_str!("../../shaders/matmul_shared.wgsl");
const MATMUL_COOPERATIVE: &str = include_str!("../../shaders/matmul_cooperative.wgsl");
const FINISH: &str = include_str!("../../shaders/finish.wgsl");

/// Rows of the ring of reported terms (the constant of finish.wgsl).
pub const RING: usize = 1024;
/// Terms a row of the ring holds (the constant of finish.wgsl).
pub const TERMS: usize = 16;

/// How the threads of a kernel share its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Elementwise work.
    Map {
        /// Quads that a thread computes.
        run: usize,
        /// Whether they are of one row, whose place in the shuffled data it looks up first.
        shuffled: bool,
    },
    /// Reduction over columns, so many threads to a row.
    ReduceColumns {
        /// Threads that share a row.
        lanes: u32,
    },
    /// Reduction over rows, so many threads to four columns.
    ReduceRows {
        /// Threads that share a quad of columns.
        lanes: u32,
    },
    /// Matrix product.
    MatMul {
        /// The tile.
        tile: Tile,
        /// Whether the left factor is transposed,
        ta: bool,
        /// and the right one.
        tb: bool,
        /// Parts of the inner dimension that workgroups of their own add up.
        parts: usize,
    },
}

/// Workgroup memory: a name, the type of its elements, and how many there are.
type Memory = (&'static str, String, usize);

/// Quads in a row of the workgroup memory that is called `staged`.
const STAGED: usize = 128;

/// Workgroup memory for so many quads. Parts of one kernel share it, since a workgroup works on one of them: together they
/// must not need more than one alone may, the 16 KiB that WebGPU offers everywhere.
fn staged(quads: usize) -> Memory {
    ("staged", format!("array<vec4<f32>, {STAGED}>"), quads.div_ceil(STAGED))
}

impl Schedule {
    /// Threads in a workgroup, where nothing else decides.
    pub fn workgroup(self) -> u32 {
        match self {
            Schedule::Map { .. } => 64,
            Schedule::ReduceColumns { lanes } | Schedule::ReduceRows { lanes } => lanes.max(32),
            Schedule::MatMul { tile, .. } => tile.workgroup() as u32,
        }
    }

    /// Whether the work can be shared out to workgroups of another size.
    pub fn any_workgroup(self) -> bool {
        match self {
            Schedule::Map { .. } => true,
            Schedule::ReduceColumns { lanes } | Schedule::ReduceRows { lanes } => lanes == 1,
            Schedule::MatMul { .. } => false,
        }
    }

    /// Workgroups for a result of `rows` matrix rows and `quads` quads of columns. An extent of 0, of a tile or a workgroup,
    /// counts as 1.
    pub fn groups(self, rows: usize, quads: usize, workgroup: u32) -> usize {
        let shares = |count: usize, each: usize| count.div_ceil(each.max(1));
        let threads = |count: usize, together: usize| shares(count, together).max(1);
        let workgroup = workgroup as usize;
        match self {
            Schedule::Map { run, shuffled: true } => threads(rows.saturating_mul(shares(quads, run)), workgroup),
            Schedule::Map { run, shuffled: false } => {
                threads(rows.saturating_mul(quads), workgroup.saturating_mul(run))
            }
            Schedule::ReduceColumns { lanes } => threads(rows, workgroup / lanes.max(1) as usize),
            Schedule::ReduceRows { lanes } => threads(rows.saturating_mul(quads), workgroup / lanes.max(1) as usize),
            Schedule::MatMul { tile, parts, .. } => {
                let parts = parts.max(1);
                tile.groups(rows / parts, quads).saturating_mul(parts)
            }
        }
    }

    /// A short name, for people.
    pub fn name(self) -> String {
        match self {
            Schedule::Map { run, shuffled: false } => format!("map x{run}"),
            Schedule::Map { run, shuffled: true } => format!("shuffled x{run}"),
            Schedule::ReduceColumns { lanes } => format!("reduce_columns x{lanes}"),
            Schedule::ReduceRows { lanes } => format!("reduce_rows x{lanes}"),
            Schedule::MatMul { tile, ta, tb, parts } => {
                let t = |t: bool| if t { 'T' } else { 'N' };
                let parts = if parts > 1 { format!(", sums in {parts} parts") } else { String::new() };
                format!("matmul {}{} {tile}{parts}", t(ta), t(tb))
            }
        }
    }
}

/// A storage range of quads or octets, as a kernel reads and writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The name of its binding.
    pub name: String,
    /// Where its part of the binding begins: empty, or a sum to go on with.
    pub start: String,
    /// How they lie there.
    pub form: Form,
}

/// How a quad, four neighbouring values, or an octet lies in storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    #[default]
    Single,
    /// As two words of 64 bits.
    Wide,
    /// An octet, two neighbouring quads, as four words of 64 bits. Whoever reads it unpacks it.
    Octet,
    /// In half precision.
    Half,
}

impl Form {
    /// The type of a quad or an octet in WGSL.
    pub fn quad(self) -> &'static str {
        match self {
            Form::Single => "vec4<f32>",
            Form::Wide => "vec2<u64>",
            Form::Octet => "vec4<u64>",
            Form::Half => "vec4<f16>",
        }
    }
}

impl Source {
    /// The text of the quad at an index; of an octet, its words.
    pub fn at(&self, index: &str) -> String {
        let raw = self.raw(index);
        match self.form {
            Form::Single | Form::Octet => raw,
            Form::Wide => format!("unpack({raw})"),
            Form::Half => format!("T({raw})"),
        }
    }

    /// The text of what lies at an index, as it lies there.
    pub(crate) fn raw(&self, index: &str) -> String {
        let Source { name, start, .. } = self;
        format!("{name}[{start}{index}]")
    }

    /// The statement that stores a quad, or the words of an octet.
    pub fn store(&self, index: &str, value: &str) -> String {
        let raw = self.raw(index);
        match self.form {
            Form::Single | Form::Octet => format!("{raw} = {value};"),
            Form::Wide => format!("{raw} = pack({value});"),
            Form::Half => format!("{raw} = vec4<f16>({value});"),
        }
    }
}

/// What a kernel needs beside its own text. Whoever writes text that calls for it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Sines and cosines.
    Angle,
    /// Random draws and the order of shuffled rows.
    Random,
    /// Sums that keep what rounding takes from them.
    Total,
    /// Numbers of 16 bits.
    Half,
    /// Words of 64 bits.
    Wide,
    /// Cooperative matrices, and which of a workgroup's subgroups a thread is in.
    Cooperative,
}

/// One of the jobs that a kernel's workgroups are shared out to.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// How its threads share the work.
    pub schedule: Schedule,
    /// The functions its template calls.
    pub functions: String,
    /// The bindings that a product reads.
    pub factors: [Source; 2],
    /// The names of its dimensions.
    pub dims: Vec<String>,
    /// Whether what follows a product is so short that it is written out for every sum.
    pub short: bool,
}

impl Part {
    /// The text of the function `part` around the functions that it calls.
    fn text(&self) -> Result<String> {
        let main = match self.schedule {
            Schedule::Map { shuffled, .. } => {
                fill(MAP, &[("if shuffled", when(shuffled)), ("if in order", when(!shuffled))])?
            }
            Schedule::ReduceColumns { lanes } => reduction(REDUCE_COLUMNS, lanes)?,
            Schedule::ReduceRows { lanes } => reduction(REDUCE_ROWS, lanes)?,
            Schedule::MatMul { tile, ta, tb, parts } => {
                let template = match tile {
                    Tile::Registers { .. } | Tile::Subgroup { .. } => MATMUL_REGISTERS,
                    Tile::Shared { .. } => MATMUL_SHARED,
                    Tile::Cooperative { .. } => MATMUL_COOPERATIVE,
                };
                fill(template, &tile.hooks([ta, tb], parts, &self.factors, self.short))?
            }
        };
        Ok([&self.functions, &main[..]].concat())
    }

    /// What its template calls for.
    fn needs(&self) -> Option<Need> {
        match self.schedule {
            Schedule::Map { shuffled, .. } => shuffled.then_some(Need::Random),
            Schedule::ReduceColumns { .. } | Schedule::ReduceRows { .. } => Some(Need::Total),
            Schedule::MatMul { tile: Tile::Cooperative { .. }, .. } => Some(Need::Cooperative),
            Schedule::MatMul { .. } => None,
        }
    }

    fn memory(&self) -> Vec<Memory> {
        match self.schedule {
            Schedule::ReduceColumns { lanes } | Schedule::ReduceRows { lanes } if lanes > 1 => {
                vec![staged(lanes as usize)]
            }
            Schedule::MatMul { tile, .. } => tile.memory(self.short),
            _ => vec![],
        }
    }
}

/// The kernel of parts that run side by side, in workgroups of one size; `bindings` declares what they are bound to,
/// `end` is what each thread does when its part is done, and `needs` is what both and the parts' functions call for.
/// Its dimensions are those of each part in turn, then, where there are several, the workgroups of each but the last,
/// and a stride and a modulus that say which of them all a workgroup stands for, then the workgroups in a row of the
/// grid.
///
/// # Errors
/// [`Error::Internal`] where a template and the text for it do not fit each other.
pub(crate) fn source(
    bindings: &str,
    parts: &[Part],
    end: &str,
    workgroup: u32,
    needs: &BTreeSet<Need>,
) -> Result<String> {
    let several = parts.len() > 1;
    let mut dims = String::from("struct Dims {\n");
    let (mut texts, mut main, mut memory) = (String::new(), String::new(), Vec::<Memory>::new());
    for (i, part) in parts.iter().enumerate() {
        let suffix = if several { format!("_{i}") } else { String::new() };
        part.dims.iter().for_each(|name| dims.extend(["    ", name, &suffix, ": u32,\n"]));
        texts.push_str(&suffixed(&part.text()?, &suffix));
        let last = i + 1 == parts.len();
        let (open, close) = match (several, last) {
            (false, _) => (String::new(), ""),
            (true, false) => (format!("if (at{suffix} < dims.groups{suffix}) {{\n        "), "\n    } else {\n    "),
            (true, true) => (String::new(), ""),
        };
        main.push_str(&format!("    {open}part{suffix}(at{suffix}, lane);{close}"));
        if !last {
            main.push_str(&format!("    let at_{} = at{suffix} - dims.groups{suffix};\n    ", i + 1));
        }
        for (name, element, count) in part.memory() {
            match memory.iter_mut().find(|(n, ..)| *n == name) {
                Some((.., most)) => *most = (*most).max(count),
                None => memory.push((name, element, count)),
            }
        }
    }
    (1..parts.len()).for_each(|i| dims.push_str(&format!("    groups_{}: u32,\n", i - 1)));
    if several {
        dims.push_str("    stride: u32,\n    modulus: u32,\n");
    }
    dims.push_str("    wrap: u32,\n}\n");
    let mut memories = String::new();
    for (name, element, count) in memory {
        memories.push_str(&format!("var<workgroup> {name}: array<{element}, {count}>;\n"));
    }
    let at = match several {
        false => "at = group.x + group.y * dims.wrap",
        true => "at_0 = (group.x + group.y * dims.wrap) * dims.stride % dims.modulus",
    };
    let needs: BTreeSet<Need> = needs.iter().copied().chain(parts.iter().filter_map(Part::needs)).collect();
    let need = |need: Need| needs.contains(&need);
    // Where threads pass values on, the workgroup is one subgroup.
    let together =
        parts.iter().any(|part| matches!(part.schedule, Schedule::MatMul { tile: Tile::Subgroup { .. }, .. }));
    let lane = if together { "subgroup_invocation_id" } else { "local_invocation_index" };
    // Which of the workgroup's subgroups a thread is in, and its place there.
    let (teams, arguments, set) = match need(Need::Cooperative) {
        true => (
            "var<private> team: u32;\nvar<private> seat: u32;\n",
            ", @builtin(subgroup_id) in_team: u32, @builtin(subgroup_invocation_id) in_seat: u32",
            "    team = in_team;\n    seat = in_seat;\n",
        ),
        false => ("", "", ""),
    };
    let main = format!(
        "{teams}const WORKGROUP: u32 = {workgroup}u;\n\n@compute @workgroup_size({workgroup})\nfn main(@builtin(workgroup_id) \
         group: vec3<u32>, @builtin({lane}) lane: u32{arguments}) {{\n    none = group.z;\n{set}    let {at};\n\
         {main}{}\n{end}}}\n",
        "\n    }".repeat(parts.len() - 1)
    );
    let library = [
        SCALAR,
        if need(Need::Angle) || need(Need::Random) { ANGLE } else { "" },
        if need(Need::Random) { RANDOM } else { "" },
        if need(Need::Total) { TOTAL } else { "" },
    ];
    let half = if need(Need::Half) || need(Need::Cooperative) { "enable f16;\n" } else { "" };
    let cooperative = if need(Need::Cooperative) { "enable wgpu_cooperative_matrix;\n" } else { "" };
    let wide = if need(Need::Wide) { WIDE } else { "" };
    let head = [half, cooperative, PRELUDE, wide, NONE, STATE, &dims, bindings].concat();
    Ok([&head, &library.concat(), &memories, &texts, &main[..]].concat())
}

/// A part's text with a suffix to every name that it declares, and to every dimension.
fn suffixed(text: &str, suffix: &str) -> String {
    if suffix.is_empty() {
        return text.to_string();
    }
    let declared: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("fn ").or_else(|| line.strip_prefix("const ")))
        .filter_map(|rest| rest.split(|c| !in_word(c)).next())
        .collect();
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for token in tokens(text) {
        let dimension = out.ends_with("dims.");
        out.push_str(token);
        if token.starts_with(in_word) && (dimension || declared.contains(&token)) {
            out.push_str(suffix);
        }
    }
    out
}

/// A text with every whole word of one kind replaced.
pub(crate) fn renamed(text: &str, from: &str, to: &str) -> String {
    tokens(text).map(|token| if token == from { to } else { token }).collect()
}

/// Whether it may stand in a word of WGSL.
fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The words of a text, and every character between them.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if in_word(first) { rest.find(|c| !in_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// The kernel that ends a step.
pub fn finish() -> String {
    [STATE, FINISH].concat()
}

/// A reduction with `lanes` threads to a result: one, or a whole workgroup.
fn reduction(template: &str, lanes: u32) -> Result<String> {
    let shared = lanes > 1;
    let row = if shared { format!("\nconst ROW: u32 = {STAGED}u;") } else { String::new() };
    let consts = format!("const LANES: u32 = {lanes}u;{row}");
    fill(template, &[("consts", consts), ("if shared", when(shared))])
}

/// The text of a condition.
fn when(condition: bool) -> String {
    if condition { "1" } else { "" }.into()
}

/// Replaces every line `//{name}` by its text and keeps the lines from `//{if name}` to `//{end}` only where the
/// text of `if name` is not empty.
///
/// # Errors
/// [`Error::Internal`] where a line names what there is no text for, or a text what no line names.
fn fill(template: &str, hooks: &[(&str, String)]) -> Result<String> {
    let mut out = String::with_capacity(template.len());
    let mut keep = true;
    let mut met = vec![false; hooks.len()];
    for line in template.lines() {
        let Some(name) = line.strip_prefix("//{").and_then(|l| l.strip_suffix('}')) else {
            if keep {
                out.extend([line, "\n"]);
            }
            continue;
        };
        if name == "end" {
            keep = true;
            continue;
        }
        let at = hooks.iter().position(|(hook, _)| *hook == name);
        let at = at.ok_or_else(|| Error::Internal(format!("no text for the hook {name:?} of a template")))?;
        met[at] = true;
        match &hooks[at].1[..] {
            text if name.starts_with("if ") => keep = !text.is_empty(),
            text if keep => out.extend([text, "\n"]),
            _ => {}
        }
    }
    match met.iter().position(|met| !met) {
        Some(at) => Err(Error::Internal(format!("no template asks for the hook {:?}", hooks[at].0))),
        None => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_templates_fit_each_other() {
        let template = "a\n//{x}\n//{if y}\nb\n//{end}\nc\n";
        let hooks = |x: &str, y: &str| [("x", x.to_string()), ("if y", y.to_string())];
        assert_eq!(fill(template, &hooks("1", "")).ok().as_deref(), Some("a\n1\nc\n"));
        assert_eq!(fill(template, &hooks("1", "1")).ok().as_deref(), Some("a\n1\nb\nc\n"));
        assert!(fill(template, &hooks("1", "1")[..1]).is_err(), "a line without a text");
        assert!(fill("//{x}\n", &hooks("1", "1")).is_err(), "a text without a line");
    }
}
