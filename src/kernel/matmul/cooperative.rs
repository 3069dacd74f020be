//! The lines of the kernels that multiply by cooperative matrices.

use std::fmt::Write as _;

use super::staged::Staged;
use super::{LANES, Memory, Source, pairs};

/// Subgroups of a workgroup, down and across.
const TEAMS_DOWN: usize = 2;
const TEAMS_ACROSS: usize = 4;
pub(super) const TEAMS: usize = TEAMS_DOWN * TEAMS_ACROSS;

/// Squares that a subgroup multiplies, down and across.
const DOWN: usize = 4;
const ACROSS: usize = 2;

/// Squares of a workgroup's tile, down as across.
pub(super) const SQUARES: usize = TEAMS_DOWN * DOWN;
const _: () = assert!(SQUARES == TEAMS_ACROSS * ACROSS);

/// Subgroups whose results go through workgroup memory at a time: WebGPU's smallest has no room for all.
const TOGETHER: usize = 4;

/// How far rows are apart in workgroup memory beyond what they hold: so much that the rows of a square lie in banks of
/// their own.
const APART: usize = 8;

/// Matrices of `side` x `side`, and how the factors lie in storage.
pub(super) struct Cooperative<'a> {
    pub(super) side: usize,
    /// Threads of a subgroup.
    pub(super) subgroup: usize,
    pub(super) ta: bool,
    pub(super) tb: bool,
    pub(super) factors: &'a [Source; 2],
}

impl Cooperative<'_> {
    fn sides(&self) -> [Staged<'_>; 2] {
        let ends = [if self.ta { "dims.a_quads" } else { "m" }, if self.tb { "dims.b_rows" } else { "dims.b_quads" }];
        let side = |at: usize, name: &'static str, along_inner: bool| Staged {
            name,
            source: &self.factors[at],
            along_inner,
            outer: SQUARES * self.side,
            depth: self.side,
            threads: TEAMS * self.subgroup,
            seat: "lane",
            end: ends[at],
            half: true,
        };
        [side(0, "a", !self.ta), side(1, "b", self.tb)]
    }

    pub(super) fn hooks(&self) -> Vec<(&'static str, String)> {
        let Cooperative { side, subgroup, .. } = self;
        let consts = format!(
            "const SIDE: u32 = {side}u;\nconst SUBGROUP: u32 = {subgroup}u;\nconst DEPTH: u32 = {side}u;\n\
             const TILE: u32 = {}u;\nconst DOWN: u32 = {}u;\nconst ACROSS: u32 = {}u;\nconst TEAMS_ACROSS: u32 = \
             {TEAMS_ACROSS}u;",
            SQUARES * side,
            DOWN * side,
            ACROSS * side,
        );
        let of = |text: fn(&Staged<'_>) -> String| self.sides().iter().map(text).collect::<String>();
        let keep = self.sides().iter().map(|staged| self.keep(staged)).collect();
        vec![
            ("consts", consts),
            ("start", self.zero() + &of(|staged| staged.start())),
            ("fetch", of(|staged| staged.fetch())),
            ("keep", keep),
            ("products", self.products()),
            ("store sums", self.store()),
        ]
    }

    fn zero(&self) -> String {
        let (mut out, side) = (String::new(), self.side);
        for (i, j) in pairs(DOWN, ACROSS) {
            let _ = writeln!(out, "    var s{i}_{j} = coop_mat{side}x{side}<f32, C>();");
        }
        out
    }

    /// Both factors' squares, and all products of them.
    fn products(&self) -> String {
        let (mut out, side) = (String::new(), self.side);
        let [left, right] = self.sides();
        let mut load = |staged: &Staged<'_>, to: char, role: char, mine: &str, count: usize| {
            // What lies along the rows of the matrix is loaded by rows.
            let by_rows = staged.along_inner == (role == 'A');
            let load = if by_rows { "coopLoadT" } else { "coopLoad" };
            let (name, word) = (staged.name, word(side));
            let stride = stride(staged) / word;
            for i in 0..count {
                let at = match staged.along_inner {
                    true => format!("({mine} + {}u) * {stride}u", i * side),
                    false => format!("({mine} + {}u) / {word}u", i * side),
                };
                let matrix = format!("coop_mat{side}x{side}<f16, {role}>");
                let _ = writeln!(out, "        let {to}{i} = {load}<{matrix}>(&half_{name}[{at}], {stride}u);");
            }
        };
        load(&left, 'x', 'A', "my_row", DOWN);
        load(&right, 'y', 'B', "my_column", ACROSS);
        for (i, j) in pairs(DOWN, ACROSS) {
            let _ = writeln!(out, "        s{i}_{j} = coopMultiplyAdd(x{i}, y{j}, s{i}_{j});");
        }
        out
    }

    /// One square after the other goes through workgroup memory, of some subgroups at a time.
    fn store(&self) -> String {
        let (mut out, side) = (String::new(), self.side);
        for (i, j) in pairs(DOWN, ACROSS) {
            for first in (0..TEAMS).step_by(TOGETHER) {
                let mine = format!("team / {TOGETHER}u == {}u", first / TOGETHER);
                let _ = writeln!(out, "    workgroupBarrier();\n    if ({mine}) {{");
                let _ = writeln!(
                    out,
                    "        coopStoreT(s{i}_{j}, &squares[team % {TOGETHER}u * SIDE * SIDE], SIDE);\n    }}\n    \
                     workgroupBarrier();\n    if ({mine}) {{"
                );
                let (row, column) = (i * side, j * side);
                let at = format!("first_a * 4u + my_row + {row}u, first_b + (my_column + {column}u) / 4u");
                let _ = writeln!(out, "        keep({at}, team % {TOGETHER}u * SIDE * SIDE);\n    }}");
            }
        }
        out
    }

    /// Puts what was fetched into workgroup memory, as it lies in storage.
    fn keep(&self, staged: &Staged<'_>) -> String {
        let (mut out, name, word) = (String::new(), staged.name, word(self.side));
        let stride = stride(staged) / word;
        for (fetch, some) in staged.fetches() {
            let each = 4 / word;
            let mut lines =
                format!("            let {fetch}_to = {fetch}_down * {stride}u + {fetch}_over * {each}u;\n");
            match each {
                1 => lines.push_str(&format!("            half_{name}[{fetch}_to] = {fetch};\n")),
                _ => LANES.iter().enumerate().for_each(|(l, lane)| {
                    let _ = writeln!(lines, "            half_{name}[{fetch}_to + {l}u] = {fetch}.{lane};");
                }),
            }
            let some = some.unwrap_or("true".into());
            out.push_str(&format!("        if ({some}) {{\n{lines}        }}\n"));
        }
        out
    }
}

/// Values of an element of workgroup memory. Quads are stored at once; but matrices of 8 x 8 are also those of Metal,
/// whose compiler loads them from single values alone.
fn word(side: usize) -> usize {
    if side == 8 { 1 } else { 4 }
}

/// Values from one row in workgroup memory to the next: of the outer dimension where storage runs along the inner one,
/// else of the inner dimension.
fn stride(staged: &Staged<'_>) -> usize {
    APART + if staged.along_inner { staged.depth } else { staged.outer }
}

/// What a kernel needs of workgroup memory, whatever its flags.
pub(super) fn memory(side: usize) -> Vec<Memory> {
    let outer = SQUARES * side;
    let most = ((outer + APART) * side).max((side + APART) * outer) / word(side);
    let kind = if word(side) == 1 { "f16" } else { "vec4<f16>" };
    vec![
        ("half_a", kind.into(), most),
        ("half_b", kind.into(), most),
        ("squares", "f32".into(), TOGETHER * side * side),
    ]
}
