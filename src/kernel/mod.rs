//! Kernels: the WGSL files of shaders/, the text that is generated into them, and what naga reads out of the result.

mod matmul;
mod reflect;

pub use matmul::Tile;
pub use reflect::{Binding, Reflection, Space, reflect};

/// What every kernel may use: the types, the state and the scalar functions.
const PRELUDE: &str = "alias T = vec4<f32>;\n";
const STATE: &str = include_str!("../../shaders/state.wgsl");
const SCALAR: &str = include_str!("../../shaders/scalar.wgsl");
const RANDOM: &str = include_str!("../../shaders/random.wgsl");
const MAP: &str = include_str!("../../shaders/map.wgsl");
const REDUCE_COLUMNS: &str = include_str!("../../shaders/reduce_columns.wgsl");
const REDUCE_ROWS: &str = include_str!("../../shaders/reduce_rows.wgsl");
const MATMUL_REGISTERS: &str = include_str!("../../shaders/matmul_registers.wgsl");
const MATMUL_SHARED: &str = include_str!("../../shaders/matmul_shared.wgsl");
const FINISH: &str = include_str!("../../shaders/finish.wgsl");

/// Rows of the ring of reported terms and of the table of hyperparameters (the constant of finish.wgsl).
pub const RING: usize = 1024;
/// Terms a row of the ring holds (the constant of finish.wgsl).
pub const TERMS: usize = 12;

/// How the threads of a kernel share its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// One thread for every four elements.
    Map,
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
    },
}

impl Schedule {
    /// Workgroups for a result of `rows` matrix rows and `quads` quads of columns, and the threads (or workgroups)
    /// in a row of the grid where one dimension does not suffice.
    pub fn grid(self, rows: usize, quads: usize, limit: u32) -> ([u32; 3], u32) {
        let threads = |count: usize, workgroup: usize, unit: usize| {
            let groups = count.div_ceil(workgroup).max(1);
            let x = groups.min(limit as usize);
            ([x as u32, groups.div_ceil(x) as u32, 1], (x * unit) as u32)
        };
        match self {
            Schedule::Map => threads(rows * quads, 64, 64),
            Schedule::ReduceColumns { lanes } => threads(rows, reduce_workgroup(lanes) / lanes as usize, 1),
            Schedule::ReduceRows { lanes } => threads(rows * quads, reduce_workgroup(lanes) / lanes as usize, 1),
            Schedule::MatMul { tile, .. } => match tile {
                Tile::Registers { rows: tr, quads: tq } => {
                    let tiles = rows.div_ceil(tr) * quads.div_ceil(tq);
                    threads(tiles, matmul::REGISTER_WORKGROUP, matmul::REGISTER_WORKGROUP)
                }
                Tile::Shared { rows: tr, quads: tq } => {
                    let grid = [quads.div_ceil(16 * tq) as u32, rows.div_ceil(16 * tr) as u32, 1];
                    (grid, 1)
                }
            },
        }
    }

    /// The schedule's kernel around generated text: `head` declares bindings, dimensions and hooks.
    pub fn source(self, head: &str) -> String {
        let main = match self {
            Schedule::Map => MAP.to_string(),
            Schedule::ReduceColumns { lanes } => reduction(REDUCE_COLUMNS, lanes),
            Schedule::ReduceRows { lanes } => reduction(REDUCE_ROWS, lanes),
            Schedule::MatMul { tile, ta, tb } => {
                let template = match tile {
                    Tile::Registers { .. } => MATMUL_REGISTERS,
                    Tile::Shared { .. } => MATMUL_SHARED,
                };
                fill(template, &tile.hooks(ta, tb))
            }
        };
        let random = if head.contains("random_") || head.contains("permute(") { RANDOM } else { "" };
        [PRELUDE, STATE, head, SCALAR, random, &main].concat()
    }

    /// A short name, for people.
    pub fn name(self) -> String {
        match self {
            Schedule::Map => "map".into(),
            Schedule::ReduceColumns { lanes } => format!("reduce_columns x{lanes}"),
            Schedule::ReduceRows { lanes } => format!("reduce_rows x{lanes}"),
            Schedule::MatMul { tile, ta, tb } => {
                let t = |t: bool| if t { 'T' } else { 'N' };
                format!("matmul {}{} {tile}", t(ta), t(tb))
            }
        }
    }
}

/// The kernel that ends a step.
pub fn finish() -> String {
    [STATE, FINISH].concat()
}

fn reduce_workgroup(lanes: u32) -> usize {
    lanes.max(32) as usize
}

/// A reduction with `lanes` threads to a result: one, or a whole workgroup.
fn reduction(template: &str, lanes: u32) -> String {
    let consts = format!("const LANES: u32 = {lanes}u;\nconst WORKGROUP: u32 = {}u;", reduce_workgroup(lanes));
    fill(template, &[("consts", consts), ("if shared", if lanes > 1 { "1" } else { "" }.into())])
}

/// Replaces every line `//{name}` by its text and keeps the lines from `//{if name}` to `//{end}` only where the
/// text of `if name` is not empty.
fn fill(template: &str, hooks: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut keep = true;
    for line in template.lines() {
        let hook = line.strip_prefix("//{").and_then(|l| l.strip_suffix('}'));
        let text = hook.and_then(|name| hooks.iter().find(|(n, _)| *n == name)).map(|(_, text)| text.as_str());
        match (hook, text) {
            (Some("end"), _) => keep = true,
            (Some(name), text) if name.starts_with("if ") => keep = text.is_some_and(|t| !t.is_empty()),
            (Some(_), Some(text)) if keep => out.extend([text, "\n"]),
            _ if keep => out.extend([line, "\n"]),
            _ => {}
        }
    }
    out
}
