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

/// How far the rows of a factor that lies along its outer dimension are apart in workgroup memory beyond what they hold:
/// so much that the rows of a square lie in banks of their own.
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
        vec![
            ("consts", consts),
            ("start", self.zero() + &of(|staged| staged.start())),
            ("fetch", of(|staged| staged.fetch())),
            ("keep", of(keep)),
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
            let (name, stride) = (staged.name, stride(staged));
            for i in 0..count {
                let along = if staged.along_inner { stride } else { 1 };
                let at = format!("({mine} + {}u) * {along}u", i * side);
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
}

/// Values from one row in workgroup memory to the next: of the outer dimension where storage runs along the inner one,
/// else of the inner dimension.
fn stride(staged: &Staged<'_>) -> usize {
    if staged.along_inner { staged.depth } else { staged.outer + APART }
}

/// Puts what was fetched into workgroup memory, as it lies in storage.
fn keep(staged: &Staged<'_>) -> String {
    let (mut out, name, stride) = (String::new(), staged.name, stride(staged));
    for (fetch, some) in staged.fetches() {
        let mut lines = format!("            let {fetch}_to = {fetch}_down * {stride}u + {fetch}_over * 4u;\n");
        for (l, lane) in LANES.iter().enumerate() {
            let _ = writeln!(lines, "            half_{name}[{fetch}_to + {l}u] = {fetch}.{lane};");
        }
        let some = some.unwrap_or("true".into());
        out.push_str(&format!("        if ({some}) {{\n{lines}        }}\n"));
    }
    out
}

/// What a kernel needs of workgroup memory, whatever its flags.
pub(super) fn memory(side: usize) -> Vec<Memory> {
    let most = (SQUARES * side + APART) * side;
    vec![("half_a", "f16", most), ("half_b", "f16", most), ("squares", "f32", TOGETHER * side * side)]
}
