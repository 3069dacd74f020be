//! The text of the matrix kernels' inner loops: every sum is a named register and every index a constant, since
//! bounds checks on indexed local arrays cost a third of the speed.

mod cooperative;
mod registers;
mod shared;
mod staged;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Form, Memory, Source};
use cooperative::{Cooperative, SQUARES, TEAMS};
use registers::Registers;
use shared::Shared;

/// Threads of the subgroups that kernels know how to use: on Mesa's software adapter a subgroup is a vector of eight.
pub const SUBGROUP: usize = 8;

/// Threads of a workgroup in the register families: a subgroup, where that is what they are for.
const REGISTER_WORKGROUP: usize = SUBGROUP;

/// Steps that the register families ask for at a time.
pub(crate) const AHEAD: usize = 256;

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
    /// Stages tiles in workgroup memory, 256 threads in slices of `side` x `side`, each with a part of the inner dimension:
    /// for hardware.
    Shared {
        /// Rows a thread.
        rows: usize,
        /// Quads of columns a thread.
        quads: usize,
        /// Threads of a slice, down and across. Files of before there were slices do not say it.
        #[serde(default = "whole")]
        side: usize,
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

/// The side of all threads together, which is what shared tiles had before there were slices.
fn whole() -> usize {
    shared::THREADS.isqrt()
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tile::Registers { rows, quads } => write!(f, "registers {rows}x{}", quads * 4),
            Tile::Subgroup { rows, quads } => write!(f, "subgroup {rows}x{}", quads * 4 * SUBGROUP),
            Tile::Shared { side, .. } => {
                let (rows, quads) = self.extent();
                write!(f, "shared {rows}x{}", quads * 4)?;
                match shared::THREADS / (side * side).max(1) {
                    0 | 1 => Ok(()),
                    slices => write!(f, " in {slices}"),
                }
            }
            Tile::Cooperative { side, .. } => write!(f, "cooperative {0}x{0}", side * SQUARES),
        }
    }
}

impl Tile {
    /// Every tile there is, for the suites.
    pub const ALL: [Tile; 21] = [
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
        Tile::Shared { rows: 4, quads: 1, side: 4 },
        Tile::Shared { rows: 4, quads: 1, side: 8 },
        Tile::Shared { rows: 8, quads: 1, side: 8 },
        Tile::Shared { rows: 8, quads: 2, side: 8 },
        Tile::Shared { rows: 8, quads: 1, side: 16 },
        Tile::Shared { rows: 8, quads: 2, side: 16 },
        Tile::Cooperative { side: 8, subgroup: 8 },
        Tile::Cooperative { side: 8, subgroup: 32 },
        Tile::Cooperative { side: 16, subgroup: 32 },
    ];

    /// Rows and quads of a thread.
    pub(crate) fn size(self) -> (usize, usize) {
        match self {
            Tile::Registers { rows, quads } | Tile::Subgroup { rows, quads } | Tile::Shared { rows, quads, .. } => {
                (rows, quads)
            }
            // Sums are not kept by threads.
            Tile::Cooperative { .. } => (0, 0),
        }
    }

    /// Threads in a workgroup.
    pub(super) fn workgroup(self) -> usize {
        match self {
            Tile::Registers { .. } | Tile::Subgroup { .. } => REGISTER_WORKGROUP,
            Tile::Shared { .. } => shared::THREADS,
            Tile::Cooperative { subgroup, .. } => TEAMS.saturating_mul(subgroup),
        }
    }

    /// Rows and quads of the result that threads compute together: those of a workgroup, or of one thread that is alone. An
    /// extent of 0 counts as 1.
    pub(crate) fn extent(self) -> (usize, usize) {
        let (rows, quads, side, across) = match self {
            Tile::Registers { rows, quads } => (rows, quads, 1, 1),
            Tile::Subgroup { rows, quads } => (rows, quads, 1, SUBGROUP),
            Tile::Shared { rows, quads, side } => (rows, quads, side, side),
            Tile::Cooperative { side, .. } => (SQUARES, SQUARES / 4, side, side),
        };
        (rows.saturating_mul(side).max(1), quads.saturating_mul(across).max(1))
    }

    /// Workgroups for a result of `rows` matrix rows and `quads` quads of columns.
    pub(crate) fn groups(self, rows: usize, quads: usize) -> usize {
        let (down, across) = self.extent();
        let tiles = rows.div_ceil(down).saturating_mul(quads.div_ceil(across));
        match self {
            Tile::Registers { .. } => tiles.div_ceil(REGISTER_WORKGROUP).max(1),
            _ => tiles,
        }
    }

    /// Whether it computes products of such factors: in half precision or not.
    pub fn suits(self, half: bool) -> bool {
        half || !matches!(self, Tile::Cooperative { .. })
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
        let loads = Registers { rows: tr, quads: tq, threads, ta, tb, parts: 1, factors: &factors }.loads();
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

    /// What a result of so many rows and quads, summed over `inner` steps in so many parts, costs with this tile on hardware
    /// adapters of so many cores, in multiply-adds of a thread; nothing where the tile is not for them.
    pub(crate) fn hardware_cost(self, size: [usize; 3], parts: usize, ta: bool, cores: usize) -> Option<usize> {
        let Tile::Shared { rows, quads, side } = self else { return None };
        Some(Shared { rows, quads, side, ta, tb: false, parts, factors: &Default::default() }.cost(size, cores))
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
    pub(super) fn memory(self, short: bool) -> Vec<Memory> {
        match self {
            Tile::Registers { .. } | Tile::Subgroup { .. } if short => vec![],
            Tile::Registers { rows, quads } | Tile::Subgroup { rows, quads } => {
                vec![("sums", "vec4<f32>".into(), REGISTER_WORKGROUP * rows * quads)]
            }
            Tile::Shared { .. } => shared::memory(),
            Tile::Cooperative { side, .. } => cooperative::memory(side),
        }
    }

    /// The generated lines of the tile's kernel, for a sum in so many parts; what follows the product is `short` or not.
    pub(super) fn hooks(
        self,
        [ta, tb]: [bool; 2],
        parts: usize,
        factors: &[Source; 2],
        short: bool,
    ) -> Vec<(&'static str, String)> {
        match self {
            Tile::Registers { rows, quads } => {
                Registers { rows, quads, threads: 1, ta, tb, parts, factors }.hooks(short)
            }
            Tile::Subgroup { rows, quads } => {
                Registers { rows, quads, threads: SUBGROUP, ta, tb, parts, factors }.hooks(short)
            }
            Tile::Shared { rows, quads, side } => Shared { rows, quads, side, ta, tb, parts, factors }.hooks(),
            Tile::Cooperative { side, subgroup } => Cooperative { side, subgroup, ta, tb, factors }.hooks(),
        }
    }

    /// Whether its kernel can leave sums in parts.
    pub(crate) fn takes_parts(self) -> bool {
        !matches!(self, Tile::Cooperative { .. })
    }
}

/// The lines that tell which part of the sum a workgroup adds up, its place in that part's grid, and the rows of the result.
/// A grid of several rows may have workgroups to spare: they have no part, and no rows.
fn piece(parts: usize) -> (&'static str, String) {
    let (piece, at, rows) = match parts {
        0 | 1 => ("0u", "group", "space_rows()"),
        _ => (
            "group / dims.part_groups",
            "group % dims.part_groups",
            "select(0u, space_rows() / PARTS, group / dims.part_groups < PARTS)",
        ),
    };
    ("piece", format!("    let piece = {piece};\n    let at = {at};\n    let m = {rows};"))
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}

const LANES: [char; 4] = ['x', 'y', 'z', 'w'];
