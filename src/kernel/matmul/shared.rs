//! The lines of the kernels that stage tiles in workgroup memory. A workgroup has 256 threads, in slices of `side` x `side`:
//! each slice computes the whole tile over a part of the inner dimension of its own, so that small results, which make few
//! workgroups, still have many loads under way; at the end the slices' sums are added up.
//!
//! Both factors lie in workgroup memory in one way, whatever their flags: for each staged step and each of a thread's quads
//! of the outer dimension a run, in which the threads of a slice find their quads side by side. Threads side by side read
//! the same quad of the left factor and quads side by side of the right one.

use std::fmt::Write as _;

use super::staged::Staged;
use super::{LANES, Memory, Source, pairs, piece};
use crate::kernel::STAGED;

/// Threads of a workgroup.
pub(super) const THREADS: usize = 256;

/// Workgroup memory is what WebGPU offers everywhere, 16 KiB, for every tile, so that several share a kernel. It is so many
/// quads in a row, and so many rows, since a bound is checked for each index that is not constant: what all threads read
/// lies at a constant row, and there are few places in it.
const ROW: usize = STAGED;
const COLUMN: usize = 8;

/// Steps that are staged at a time, where there is room; else half of them.
const DEPTH: usize = 16;

/// What fetching a quad and keeping it take, with the waiting, in multiply-adds of a thread.
const FETCHING: usize = 62;

/// Quads of sums a thread with which a second workgroup finds registers on a core only where few steps are staged.
const MANY: usize = 16;

/// A place in workgroup memory: a constant and something to add that stays within a run.
fn place(constant: usize, more: &str) -> String {
    format!("staged[{}][{}u + {more}]", constant / ROW, constant % ROW)
}

/// A place in workgroup memory that is not known beforehand.
fn at(index: &str) -> String {
    format!("staged[({index}) / {ROW}u][({index}) % {ROW}u]")
}

/// The tile of a workgroup, and how its factors lie in storage.
pub(super) struct Shared<'a> {
    /// Rows a thread: a multiple of four.
    pub(super) rows: usize,
    /// Quads of columns a thread.
    pub(super) quads: usize,
    /// Threads of a slice, down and across.
    pub(super) side: usize,
    /// Whether the left factor is transposed.
    pub(super) ta: bool,
    /// Whether the right factor is transposed.
    pub(super) tb: bool,
    /// Parts of the inner dimension that workgroups of their own add up.
    pub(super) parts: usize,
    /// The bindings of both.
    pub(super) factors: &'a [Source; 2],
}

impl Shared<'_> {
    /// Threads of a slice.
    fn slice(&self) -> usize {
        self.side * self.side
    }

    fn slices(&self) -> usize {
        THREADS / self.slice()
    }

    /// What a result of so many rows and quads, each a sum over so many steps, takes on an adapter of so many cores, in
    /// multiply-adds of a thread: fitted to all tiles and to products of large matrices on NVIDIA's H100 and H200. Cores
    /// take workgroups in turn, and a round takes [`FETCHING`] for each quad of a thread beside its multiply-adds.
    /// Gradients of weights share their dispatch with sums, and then an H100 hands workgroups out in pairs, even if that
    /// leaves half of its cores without any: 112 workgroups of 128x64 took 247 microseconds alone and 427 beside a sum of
    /// 13.
    pub(super) fn cost(&self, [rows, quads, inner]: [usize; 3], cores: usize) -> usize {
        let tiles = rows.div_ceil(self.rows * self.side).saturating_mul(quads.div_ceil(self.quads * self.side));
        let groups = tiles.saturating_mul(self.parts);
        let pair = if self.ta { 2 } else { 1 };
        let turns = groups.div_ceil(pair * cores.max(1)).saturating_mul(pair);
        let rounds = inner.div_ceil(self.parts * self.slices() * self.depth()).max(1);
        let fetched: usize = self.sides().iter().map(|(staged, ..)| staged.fetches().count()).sum();
        let each = FETCHING * fetched + 4 * self.rows * self.quads * self.depth();
        turns.saturating_mul(rounds).saturating_mul(each)
    }

    /// Quads of a run in workgroup memory.
    fn run(&self) -> usize {
        self.slices() * self.side
    }

    /// Steps of the inner dimension that a slice stages at a time: as many as there is room for. A whole workgroup with
    /// many sums a thread takes fewer, so that two of them find enough registers on a core: on an H100 128x128 comes to 42.6
    /// Tflop/s with half the steps and to 34.3 with all (4096 x 4096 x 4096, NN).
    fn depth(&self) -> usize {
        let room = ROW * COLUMN / self.run() / (self.rows / 4 + self.quads);
        let many = self.slices() == 1 && self.rows * self.quads >= MANY;
        if room >= DEPTH && !many { DEPTH } else { DEPTH / 2 }
    }

    /// Both factors, each with its quads of the outer dimension a thread, and its first run in workgroup memory.
    fn sides(&self) -> [(Staged<'_>, usize, usize); 2] {
        let each = [self.rows / 4, self.quads];
        let ends = [if self.ta { "dims.a_quads" } else { "m" }, if self.tb { "dims.b_rows" } else { "dims.b_quads" }];
        let side = |at: usize, name: &'static str, along_inner: bool| Staged {
            name,
            source: &self.factors[at],
            along_inner,
            outer: each[at] * 4 * self.side,
            depth: self.depth(),
            threads: self.slice(),
            seat: "seat",
            end: ends[at],
            half: false,
        };
        [(side(0, "a", !self.ta), each[0], 0), (side(1, "b", self.tb), each[1], self.depth() * each[0])]
    }

    pub(super) fn hooks(&self) -> Vec<(&'static str, String)> {
        let Shared { rows, quads, side, .. } = self;
        let depth = self.depth();
        let consts = format!(
            "const SIDE: u32 = {side}u;\nconst PARTS: u32 = {}u;\nconst SLICES: u32 = {}u;\nconst DEPTH: u32 = {depth}u;\n\
             const DOWN: u32 = {}u;\nconst ACROSS: u32 = {}u;\nconst RUN: u32 = {}u;",
            self.parts.max(1),
            self.slices(),
            rows / 4 * side,
            quads * side,
            self.run(),
        );
        vec![
            ("consts", consts),
            piece(self.parts),
            ("seats", self.seats()),
            ("start", self.start()),
            ("fetch", self.fetch()),
            ("keep", self.keep()),
            ("products", self.products()),
            ("store sums", self.store()),
        ]
    }

    /// Where a thread sits in its slice. Thirty-two threads that run in step sit in eight columns and four rows where
    /// there are so many: they then share the most of what they read.
    fn seats(&self) -> String {
        let (down, across) = match self.side {
            16 => ("seat / 8u % 4u + seat / 64u * 4u", "seat % 8u + seat / 32u % 2u * 8u"),
            _ => ("seat / SIDE", "seat % SIDE"),
        };
        format!(
            "fn down_of(seat: u32) -> u32 {{ return {down}; }}\nfn across_of(seat: u32) -> u32 {{ return {across}; }}"
        )
    }

    /// Sums, what each thread fetches, and where in workgroup memory that goes.
    fn start(&self) -> String {
        let mut out = String::new();
        for (i, j) in pairs(self.rows, self.quads) {
            let _ = writeln!(out, "    var s{i}_{j} = vec4<f32>();");
        }
        for (staged, each, base) in self.sides() {
            out.push_str(&staged.start());
            for (fetch, _) in staged.fetches() {
                let (step, quad) = match staged.along_inner {
                    true => (format!("{fetch}_over * 4u"), format!("{fetch}_down / 4u")),
                    false => (format!("{fetch}_down"), format!("{fetch}_over")),
                };
                let run = format!("{step} * {each}u + {quad} / SIDE + {base}u");
                let _ = writeln!(out, "    let {fetch}_to = ({run}) * RUN + mine + {quad} % SIDE;");
            }
        }
        out
    }

    fn fetch(&self) -> String {
        self.sides().iter().map(|(staged, ..)| staged.fetch()).collect()
    }

    /// Puts what was fetched into workgroup memory.
    fn keep(&self) -> String {
        let mut out = String::new();
        for (staged, each, _) in self.sides() {
            for (fetch, some) in staged.fetches() {
                let mut lines = String::new();
                if staged.along_inner {
                    // A row of storage is one value of four steps.
                    for (l, lane) in LANES.iter().enumerate() {
                        let to = at(&format!("{fetch}_to + {}u", l * each * self.run()));
                        let _ = writeln!(lines, "            {to}[{fetch}_down % 4u] = {fetch}.{lane};");
                    }
                } else {
                    let _ = writeln!(lines, "            {} = {fetch};", at(&format!("{fetch}_to")));
                }
                match some {
                    Some(some) => out.push_str(&format!("        if ({some}) {{\n{lines}        }}\n")),
                    None => out.push_str(&lines),
                }
            }
        }
        out
    }

    /// All steps that were staged.
    fn products(&self) -> String {
        let mut out = String::new();
        for step in 0..self.depth() {
            for (Staged { name, .. }, each, base) in self.sides() {
                for at in 0..each {
                    let from = place((base + step * each + at) * self.run(), &format!("my_{name}"));
                    let _ = writeln!(out, "        let {name}{step}_{at} = {from};");
                }
            }
            for (i, j) in pairs(self.rows, self.quads) {
                let _ = writeln!(out, "        s{i}_{j} += a{step}_{}.{} * b{step}_{j};", i / 4, LANES[i % 4]);
            }
        }
        out
    }

    /// Sums go through workgroup memory, as many at a time as it holds: so those of the slices are added up, what follows
    /// the product is compiled a few times only, and threads side by side store quads side by side.
    fn store(&self) -> String {
        let sums: Vec<(usize, usize)> = pairs(self.rows, self.quads).collect();
        let together = (ROW * COLUMN / THREADS).min(sums.len());
        let (slice, slices) = (self.slice(), self.slices());
        let mut out = String::new();
        for (round, some) in sums.chunks(together).enumerate() {
            out.push_str("    workgroupBarrier();\n");
            for (p, (i, j)) in some.iter().enumerate() {
                let _ = writeln!(out, "    {} = s{i}_{j};", at(&format!("{}u + lane", p * THREADS)));
            }
            out.push_str("    workgroupBarrier();\n");
            let _ = writeln!(out, "    for (var nth = lane; nth < {}u; nth += {THREADS}u) {{", some.len() * slice);
            let _ = writeln!(out, "        let found = nth / {slice}u * {THREADS}u + nth % {slice}u;");
            let parts: Vec<String> = (0..slices).map(|s| at(&format!("found + {}u", s * slice))).collect();
            let _ = writeln!(out, "        let which = nth / {slice}u + {}u;", round * together);
            let (i, j) = (format!("which / {}u", self.quads), format!("which % {}u", self.quads));
            let sum = parts.join(" + ");
            let _ = writeln!(out, "        keep(first_a, first_b, {i}, {j}, nth % {slice}u, m, piece, {sum});\n    }}");
        }
        out
    }
}

/// What a kernel needs of workgroup memory.
pub(super) fn memory() -> Vec<Memory> {
    vec![crate::kernel::staged(ROW * COLUMN)]
}
