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
    pub const ALL: [Tile; 6] = [
        Tile::Registers { rows: 4, quads: 1 },
        Tile::Registers { rows: 4, quads: 2 },
        Tile::Registers { rows: 8, quads: 2 },
        Tile::Registers { rows: 8, quads: 4 },
        Tile::Shared { rows: 4, quads: 1 },
        Tile::Shared { rows: 8, quads: 2 },
    ];

    fn size(self) -> (usize, usize) {
        match self {
            Tile::Registers { rows, quads } | Tile::Shared { rows, quads } => (rows, quads),
        }
    }

    /// The generated lines of the tile's kernel.
    pub(super) fn hooks(self, ta: bool, tb: bool) -> Vec<(&'static str, String)> {
        let (rows, quads) = self.size();
        let mut sums = String::new();
        // Written out: a loop would index an array of sums, which compilers turn into a ladder of branches.
        let mut store = String::new();
        for (i, j) in pairs(rows, quads) {
            let _ = writeln!(sums, "    var s{i}_{j} = vec4<f32>();");
            let _ = writeln!(store, "    if (row0 + {i}u < m && c0 + {j}u < dims.quads) {{");
            let _ = writeln!(store, "        body(row0 + {i}u, c0 + {j}u, s{i}_{j});\n    }}");
        }
        let mut hooks = vec![("zero sums", sums), ("store sums", store)];
        match self {
            Tile::Registers { .. } => {
                let step = if ta && !tb { 1 } else { 4 };
                let mut consts = format!("const ROWS: u32 = {rows}u;\nconst QUADS: u32 = {quads}u;\n");
                let _ = write!(consts, "const STEP: u32 = {step}u;\nconst WORKGROUP: u32 = {REGISTER_WORKGROUP}u;");
                hooks.push(("consts", consts));
                hooks.push(("starts", register_starts(rows, quads, ta, tb)));
                hooks.push(("products", register_products(rows, quads, ta, tb)));
            }
            Tile::Shared { .. } => {
                let consts = format!(
                    "const ROWS: u32 = {rows}u;\nconst QUADS: u32 = {quads}u;\nconst DEPTH: u32 = {}u;",
                    if rows > 4 { DEPTH / 2 } else { DEPTH }
                );
                hooks.push(("consts", consts));
                hooks.push(("stage left", stage("left", "in0", "a", "M", "first_row", !ta)));
                hooks.push(("stage right", stage("right", "in1", "b", "N", "column0", tb)));
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
        for i in 0..rows.div_ceil(4) {
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

/// One step of the inner loop. Where a factor runs along its columns the step takes a quad of them, whose padding is
/// zero; rows of the other factor past the end are then read from its last row and multiplied by those zeros.
fn register_products(rows: usize, quads: usize, ta: bool, tb: bool) -> String {
    let mut out = String::new();
    let o = &mut out;
    let row_of = |l: usize| if l == 0 { "k".to_string() } else { format!("min(k + {l}u, k_end - 1u)") };
    match (ta, tb) {
        (false, false) => {
            for i in 0..rows {
                let _ = writeln!(o, "        let x{i} = in0[a{i} + k / 4u];");
            }
            for (l, lane) in LANES.iter().enumerate() {
                let _ = writeln!(o, "        let r{l} = {} * dims.b_quads;", row_of(l));
                for j in 0..quads {
                    let _ = writeln!(o, "        let y{l}_{j} = in1[r{l} + b{j}];");
                }
                for (i, j) in pairs(rows, quads) {
                    let _ = writeln!(o, "        s{i}_{j} += x{i}.{lane} * y{l}_{j};");
                }
            }
        }
        (true, false) => {
            for i in 0..rows.div_ceil(4) {
                let _ = writeln!(o, "        let x{i} = in0[k * dims.a_quads + a{i}];");
            }
            for j in 0..quads {
                let _ = writeln!(o, "        let y{j} = in1[k * dims.b_quads + b{j}];");
            }
            for (i, j) in pairs(rows, quads) {
                let _ = writeln!(o, "        s{i}_{j} += x{}.{} * y{j};", i / 4, LANES[i % 4]);
            }
        }
        (false, true) => {
            for i in 0..rows {
                let _ = writeln!(o, "        let x{i} = in0[a{i} + k / 4u];");
            }
            for j in 0..quads * 4 {
                let _ = writeln!(o, "        let y{j} = in1[b{j} + k / 4u];");
            }
            for (i, j) in pairs(rows, quads) {
                let q = j * 4;
                let dots = (q..q + 4).map(|j| format!("dot(x{i}, y{j})")).collect::<Vec<_>>().join(", ");
                let _ = writeln!(o, "        s{i}_{j} += vec4<f32>({dots});");
            }
        }
        (true, true) => {
            for (l, i) in pairs(4, rows.div_ceil(4)) {
                let _ = writeln!(o, "        let x{l}_{i} = in0[{} * dims.a_quads + a{i}];", row_of(l));
            }
            for j in 0..quads * 4 {
                let _ = writeln!(o, "        let y{j} = in1[b{j} + k / 4u];");
            }
            for (i, j) in pairs(rows, quads) {
                for (l, lane) in LANES.iter().enumerate() {
                    let q = j * 4;
                    let column = (q..q + 4).map(|j| format!("y{j}.{lane}")).collect::<Vec<_>>().join(", ");
                    let x = format!("x{l}_{}.{}", i / 4, LANES[i % 4]);
                    let _ = writeln!(o, "        s{i}_{j} += {x} * vec4<f32>({column});");
                }
            }
        }
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
