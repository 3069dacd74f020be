//! The text of the matrix kernels' inner loops: every sum is a named register and every index a constant, since
//! bounds checks on indexed local arrays cost a third of the speed.

mod cooperative;
mod registers;
mod shared;

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::{Form, Source, when};
use registers::Registers;
use shared::Shared;

/// Threads of the subgroups that kernels know how to use: on Mesa's software adapter a subgroup is a vector of eight.
pub const SUBGROUP: usize = 8;

/// Threads of a workgroup in the register families: a subgroup, where that is what they are for.
pub(super) const REGISTER_WORKGROUP: usize = SUBGROUP;

/// Steps that the register families ask for at a time.
const AHEAD: usize = 256;

/// Values of the inner dimension that the shared family stages at a time.
const DEPTH: usize = 16;

/// What one thread of a matrix kernel computes: `rows` rows by `quads` quads of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Tile {
    /// Reads storage directly: for software adapters.
    Registers {
        /// Rows a thread.
        rows: usize,
        /// Quads of columns a thread.
        quads: usize,
    },
    /// Reads storage directly, each value by one thread of a subgroup, which passes it on: for software adapters.
    Subgroup {
        /// Rows a thread, and of the whole subgroup.
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
    /// Stages tiles in workgroup memory and multiplies them by cooperative matrices: for factors in half precision, where
    /// the device has such matrices. Experimental, so only by tuning.
    Cooperative {
        /// Rows and columns of a matrix.
        side: usize,
        /// Threads of a subgroup.
        subgroup: usize,
    },
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tile::Registers { rows, quads } => write!(f, "registers {rows}x{}", quads * 4),
            Tile::Subgroup { rows, quads } => write!(f, "subgroup {rows}x{}", quads * 4 * SUBGROUP),
            Tile::Shared { rows, quads } => write!(f, "shared {}x{}", rows * 16, quads * 64),
            Tile::Cooperative { side, .. } => write!(f, "cooperative {0}x{0}", side * 4),
        }
    }
}

impl Tile {
    /// Every tile there is, for the suites.
    pub const ALL: [Tile; 18] = [
        Tile::Registers { rows: 4, quads: 1 },
        Tile::Registers { rows: 4, quads: 2 },
        Tile::Registers { rows: 8, quads: 4 },
        Tile::Registers { rows: 16, quads: 4 },
        Tile::Subgroup { rows: 16, quads: 1 },
        Tile::Subgroup { rows: 32, quads: 1 },
        Tile::Subgroup { rows: 40, quads: 1 },
        Tile::Subgroup { rows: 48, quads: 1 },
        Tile::Subgroup { rows: 64, quads: 1 },
        Tile::Subgroup { rows: 16, quads: 2 },
        Tile::Subgroup { rows: 24, quads: 2 },
        Tile::Subgroup { rows: 32, quads: 2 },
        Tile::Shared { rows: 2, quads: 1 },
        Tile::Shared { rows: 4, quads: 1 },
        Tile::Shared { rows: 8, quads: 2 },
        Tile::Cooperative { side: 8, subgroup: 8 },
        Tile::Cooperative { side: 8, subgroup: 32 },
        Tile::Cooperative { side: 16, subgroup: 32 },
    ];

    /// Rows and quads of a thread.
    pub(crate) fn size(self) -> (usize, usize) {
        match self {
            Tile::Registers { rows, quads } | Tile::Subgroup { rows, quads } | Tile::Shared { rows, quads } => {
                (rows, quads)
            }
            // Sums are not kept by threads.
            Tile::Cooperative { .. } => (0, 0),
        }
    }

    /// Whether it computes products of such factors: in half precision or not.
    pub fn suits(self, half: bool) -> bool {
        half || !matches!(self, Tile::Cooperative { .. })
    }

    /// Values of the inner dimension that the shared family stages at a time: fewer where tiles are large.
    fn depth(self) -> usize {
        if self.size().0 > 4 { DEPTH / 2 } else { DEPTH }
    }

    /// What a result of so many rows and quads costs with this tile on software adapters, in tenths of what a row and a quad
    /// take for four steps; nothing where the tile is not for them. What lies beyond the edge of the result is computed
    /// too, and workgroups are shared out to two threads at least.
    pub fn cost(self, rows: usize, quads: usize, ta: bool, tb: bool) -> Option<usize> {
        let (tr, tq) = self.size();
        let threads = match self {
            Tile::Registers { .. } => 1,
            Tile::Subgroup { .. } => SUBGROUP,
            Tile::Shared { .. } | Tile::Cooperative { .. } => return None,
        };
        // As if octets could be read wherever the tile does, which they mostly can.
        let octets = self.octets(ta, tb);
        let factors = octets.map(|o| Source { form: if o { Form::Octet } else { Form::Single }, ..Source::default() });
        let loads = Registers { rows: tr, quads: tq, threads, ta, tb, factors: &factors }.loads();
        // Measured on llvmpipe: loads of a quad and of an octet, and what else a row and a quad take. Neighbouring quads
        // need more registers; single ones make more of a large right factor's lines, and of gradients' stores.
        let loading: usize = loads.iter().zip(octets).map(|(count, octet)| count * if octet { 65 } else { 42 }).sum();
        let computing = if tb && tq == 1 { 10 } else { 12 };
        let storing = match (ta, tq) {
            (false, _) => 0,
            (true, 1) => 6,
            (true, _) => 4,
        };
        let each = loading + (computing + storing) * tr * tq;
        let tiles = rows.div_ceil(tr) * quads.div_ceil(tq * threads);
        Some(each * tiles.div_ceil(SUBGROUP / threads).next_multiple_of(2))
    }

    /// Whether it reads the left factor and the right one by octets, where it can: what does not lie along the inner
    /// dimension.
    pub fn octets(self, ta: bool, tb: bool) -> [bool; 2] {
        match self {
            Tile::Subgroup { rows, quads } => [ta && rows % 8 == 0, !tb && quads % 2 == 0],
            _ => [false; 2],
        }
    }

    /// What its kernel needs of workgroup memory.
    pub(super) fn memory(self, short: bool) -> Vec<super::Memory> {
        match self {
            Tile::Registers { .. } | Tile::Subgroup { .. } if short => vec![],
            Tile::Registers { rows, quads } | Tile::Subgroup { rows, quads } => {
                vec![("sums", "vec4<f32>", REGISTER_WORKGROUP * rows * quads)]
            }
            Tile::Shared { rows, quads } => {
                let depth = self.depth();
                vec![("left", shared::LEFT, depth * rows.div_ceil(4)), ("right", shared::RIGHT, depth * quads)]
            }
            Tile::Cooperative { side, .. } => {
                let (staged, square) = (4 * side * 2 * side, side * side);
                vec![("left_half", "f16", staged), ("right_half", "f16", staged), ("squares", "f32", 4 * square)]
            }
        }
    }

    /// The generated lines of the tile's kernel; what follows the product is `short` or not.
    pub(super) fn hooks(self, ta: bool, tb: bool, factors: &[Source; 2], short: bool) -> Vec<(&'static str, String)> {
        let (rows, quads) = self.size();
        // A thread's quads of columns lie side by side, or as far apart as threads that have neighbouring ones.
        let apart = if matches!(self, Tile::Shared { .. }) { shared::SIDE } else { 1 };
        let mut sums = String::new();
        let mut store = String::new();
        for (i, j) in pairs(rows, quads) {
            let _ = writeln!(sums, "    var s{i}_{j} = vec4<f32>();");
            let _ = match self {
                // Through memory: what follows the product is then compiled once, not for every sum. (A loop over a
                // local array would do, if compilers did not make a ladder of branches of it.)
                Tile::Registers { .. } | Tile::Subgroup { .. } if !short => {
                    writeln!(store, "    sums[mine + {}u] = s{i}_{j};", i * quads + j)
                }
                _ => {
                    let (row, c) = (format!("row0 + {i}u"), format!("c0 + {}u", j * apart));
                    let inside = format!("{row} < m && {c} < dims.quads");
                    writeln!(store, "    if ({inside}) {{\n        body({row}, {c}, s{i}_{j});\n    }}")
                }
            };
        }
        let mut hooks = vec![("if through memory", when(!short))];
        let mut consts = format!("const ROWS: u32 = {rows}u;\nconst QUADS: u32 = {quads}u;");
        match self {
            Tile::Registers { .. } => {
                hooks.extend(Registers { rows, quads, threads: 1, ta, tb, factors }.hooks());
            }
            Tile::Subgroup { .. } => {
                let _ = write!(consts, "\nconst AHEAD: u32 = {AHEAD}u;");
                hooks.extend(Registers { rows, quads, threads: SUBGROUP, ta, tb, factors }.hooks());
            }
            Tile::Shared { .. } => {
                let depth = self.depth();
                let _ = write!(consts, "\nconst DEPTH: u32 = {depth}u;");
                hooks.extend(Shared { rows, quads, depth, ta, tb, factors }.hooks());
            }
            Tile::Cooperative { side, subgroup } => {
                consts = format!("const SIDE: u32 = {side}u;\nconst SUBGROUP: u32 = {subgroup}u;");
                (sums, store) = (cooperative::zero(side), cooperative::store(side));
                hooks.extend(cooperative::staged(ta, tb, factors));
                hooks.push(("products", cooperative::products(side)));
            }
        }
        hooks.extend([("consts", consts), ("zero sums", sums), ("store sums", store)]);
        hooks
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}

const LANES: [char; 4] = ['x', 'y', 'z', 'w'];
