//! The text of the matrix kernels' inner loops: every sum is a named register and every index a constant, since
//! bounds checks on indexed local arrays cost a third of the speed.

use std::fmt::{self, Write as _};

/// Threads of a workgroup in the register family.
pub(super) const REGISTER_WORKGROUP: usize = 8;

/// Values of the inner dimension that the shared family stages at a time.
const DEPTH: usize = 16;

/// What one thread of a matrix kernel computes: `rows` rows (a multiple of four) by `quads` quads of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// Reads storage directly: for software adapters.
    Registers {
        /// Rows a thread.
        rows: usize,
        /// Quads of columns a thread.
        quads: usize,
    },
    /// Stages tiles in workgroup memory, 16 x 16 threads: for hardware.
    Shared {
        /// Rows a thread.
        rows: usize,
        /// Quads of columns a thread.
        quads: usize,
    },
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tile::Registers { rows, quads } => write!(f, "registers {rows}x{}", quads * 4),
            Tile::Shared { rows, quads } => write!(f, "shared {}x{}", rows * 16, quads * 64),
        }
    }
}

impl Tile {
    /// Every tile there is, for the suites.
    pub const ALL: [Tile; 7] = [
        Tile::Registers { rows: 4, quads: 1 },
        Tile::Registers { rows: 4, quads: 2 },
        Tile::Registers { rows: 8, quads: 4 },
        Tile::Registers { rows: 16, quads: 4 },
        Tile::Registers { rows: 32, quads: 4 },
        Tile::Shared { rows: 4, quads: 1 },
        Tile::Shared { rows: 8, quads: 2 },
    ];

    fn size(self) -> (usize, usize) {
        match self {
            Tile::Registers { rows, quads } | Tile::Shared { rows, quads } => (rows, quads),
        }
    }

    /// Values of the inner dimension that the shared family stages at a time: fewer where tiles are large.
    fn depth(self) -> usize {
        if self.size().0 > 4 { DEPTH / 2 } else { DEPTH }
    }

    /// What its kernel needs of workgroup memory.
    pub(super) fn memory(self) -> Vec<super::Memory> {
        match self {
            Tile::Registers { rows, quads } => vec![("sums", "vec4<f32>", REGISTER_WORKGROUP * rows * quads)],
            Tile::Shared { rows, quads } => {
                let side = |values: usize| 16 * values * self.depth();
                vec![("left", "f32", side(rows)), ("right", "f32", side(quads * 4))]
            }
        }
    }

    /// The generated lines of the tile's kernel.
    pub(super) fn hooks(self, ta: bool, tb: bool, factors: &[String; 2]) -> Vec<(&'static str, String)> {
        let (rows, quads) = self.size();
        let mut sums = String::new();
        let mut store = String::new();
        for (i, j) in pairs(rows, quads) {
            let _ = writeln!(sums, "    var s{i}_{j} = vec4<f32>();");
            let _ = match self {
                // Through memory: what follows the product is then compiled once, not for every sum. (A loop over a
                // local array would do, if compilers did not make a ladder of branches of it.)
                Tile::Registers { .. } => writeln!(store, "    sums[mine + {}u] = s{i}_{j};", i * quads + j),
                Tile::Shared { .. } => writeln!(
                    store,
                    "    if (row0 + {i}u < m && c0 + {j}u < dims.quads) {{\n        body(row0 + {i}u, c0 + {j}u, s{i}_{j});\n    }}"
                ),
            };
        }
        let mut hooks = vec![("zero sums", sums), ("store sums", store)];
        match self {
            Tile::Registers { .. } => {
                hooks.push(("consts", format!("const ROWS: u32 = {rows}u;\nconst QUADS: u32 = {quads}u;")));
                hooks.push(("starts", register_starts(rows, quads, ta, tb)));
                hooks.push(("products", register_products(rows, quads, ta, tb, factors)));
                let when = |condition: bool| String::from(if condition { "1" } else { "" });
                hooks.push(("if along", when(!ta || tb)));
                hooks.push(("if across", when(ta && !tb)));
                hooks.push(("quads along", quads_along(rows, quads, ta, tb, factors)));
            }
            Tile::Shared { .. } => {
                let consts = format!(
                    "const ROWS: u32 = {rows}u;\nconst QUADS: u32 = {quads}u;\nconst DEPTH: u32 = {}u;",
                    self.depth()
                );
                hooks.push(("consts", consts));
                hooks.push(("stage left", stage("left", &factors[0], "a", "M", "first_row", !ta)));
                hooks.push(("stage right", stage("right", &factors[1], "b", "N", "column0", tb)));
                hooks.push(("products", shared_products(rows, quads)));
            }
        }
        hooks
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}

const LANES: [char; 4] = ['x', 'y', 'z', 'w'];

/// Where each of the thread's rows and columns starts in storage. What lies beyond the edge reads the last row or
/// column instead: its sums are not kept.
fn register_starts(rows: usize, quads: usize, ta: bool, tb: bool) -> String {
    let mut out = String::new();
    if ta {
        for i in 0..rows / 4 {
            let _ = writeln!(out, "    let a{i} = min(row0 / 4u + {i}u, dims.a_quads - 1u);");
        }
    } else {
        for i in 0..rows {
            let _ = writeln!(out, "    let a{i} = min(row0 + {i}u, m - 1u) * dims.a_quads;");
        }
    }
    if tb {
        for j in 0..quads * 4 {
            let _ = writeln!(out, "    let b{j} = min(c0 * 4u + {j}u, dims.b_rows - 1u) * dims.b_quads;");
        }
    } else {
        for j in 0..quads {
            let _ = writeln!(out, "    let b{j} = min(c0 + {j}u, dims.quads - 1u);");
        }
    }
    out
}

/// What serves four steps of the inner loop: four values of each row of a factor that lies along the inner dimension.
fn quads_along(rows: usize, quads: usize, ta: bool, tb: bool, [left, right]: &[String; 2]) -> String {
    let mut out = String::new();
    for i in (0..rows).filter(|_| !ta) {
        let _ = writeln!(out, "        let p{i} = {left}[a{i} + k / 4u];");
    }
    for j in (0..quads * 4).filter(|_| tb) {
        let _ = writeln!(out, "        let q{j} = {right}[b{j} + k / 4u];");
    }
    out
}

/// One step of the inner loop. Written out four times, four steps would need no picking, but that text takes longer to
/// compile and runs no faster (docs/rejected.md).
fn register_products(rows: usize, quads: usize, ta: bool, tb: bool, [left, right]: &[String; 2]) -> String {
    let mut out = String::new();
    let o = &mut out;
    if ta {
        for i in 0..rows / 4 {
            let _ = writeln!(o, "        let x{i} = {left}[k * dims.a_quads + a{i}];");
        }
    } else {
        for i in 0..rows {
            let _ = writeln!(o, "        let x{i} = pick(p{i}, odd, high);");
        }
    }
    for j in 0..quads {
        if tb {
            let lanes = (0..4).map(|l| format!("pick(q{}, odd, high)", j * 4 + l)).collect::<Vec<_>>().join(", ");
            let _ = writeln!(o, "        let y{j} = vec4<f32>({lanes});");
        } else {
            let _ = writeln!(o, "        let y{j} = {right}[k * dims.b_quads + b{j}];");
        }
    }
    for (i, j) in pairs(rows, quads) {
        let x = if ta { format!("x{}.{}", i / 4, LANES[i % 4]) } else { format!("x{i}") };
        let _ = writeln!(o, "        s{i}_{j} += {x} * y{j};");
    }
    out
}

/// Copies four values of a factor into workgroup memory, laid out [inner][outer]; outside the matrix they are zero.
/// `along_inner` says that storage runs along the inner dimension.
fn stage(memory: &str, binding: &str, name: &str, side: &str, start: &str, along_inner: bool) -> String {
    let tile = format!("TILE_{side}");
    let mut out = String::new();
    if along_inner {
        let _ =
            writeln!(out, "            let outer = i / (DEPTH / 4u);\n            let inner = i % (DEPTH / 4u) * 4u;");
        let _ = writeln!(out, "            var v = vec4<f32>();");
        let _ = writeln!(out, "            if ({start} + outer < {name}_extent() && k0 + inner < k_end) {{");
        let at = format!("({start} + outer) * dims.{name}_quads + (k0 + inner) / 4u");
        let _ = writeln!(out, "                v = {binding}[{at}];\n            }}");
        for (l, lane) in LANES.iter().enumerate() {
            let _ = writeln!(out, "            {memory}[(inner + {l}u) * {tile} + outer] = v.{lane};");
        }
    } else {
        let _ = writeln!(
            out,
            "            let inner = i / ({tile} / 4u);\n            let outer = i % ({tile} / 4u) * 4u;"
        );
        let _ = writeln!(out, "            var v = vec4<f32>();");
        let _ = writeln!(out, "            if (({start} + outer) / 4u < dims.{name}_quads && k0 + inner < k_end) {{");
        let at = format!("(k0 + inner) * dims.{name}_quads + ({start} + outer) / 4u");
        let _ = writeln!(out, "                v = {binding}[{at}];\n            }}");
        for (l, lane) in LANES.iter().enumerate() {
            let _ = writeln!(out, "            {memory}[inner * {tile} + outer + {l}u] = v.{lane};");
        }
    }
    out
}

fn shared_products(rows: usize, quads: usize) -> String {
    let mut out = String::new();
    for i in 0..rows {
        let _ = writeln!(out, "            let x{i} = left[l + {i}u];");
    }
    for j in 0..quads {
        let lanes = (0..4).map(|l| format!("right[r + {}u]", j * 4 + l)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "            let y{j} = vec4<f32>({lanes});");
    }
    for (i, j) in pairs(rows, quads) {
        let _ = writeln!(out, "            s{i}_{j} += x{i} * y{j};");
    }
    out
}
