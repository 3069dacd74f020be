//! The lines of the kernels that multiply by cooperative matrices.

use std::fmt::Write as _;

use super::{LANES, Source, pairs};

/// Squares that a subgroup multiplies, down and across.
const SQUARES: usize = 2;

pub(super) fn zero(side: usize) -> String {
    let mut out = String::new();
    for (i, j) in pairs(SQUARES, SQUARES) {
        let _ = writeln!(out, "    var s{i}_{j} = coop_mat{side}x{side}<f32, C>();");
    }
    out
}

/// Both factors lie in workgroup memory as [inner][outer]: by columns what the left one's squares need, by rows the
/// right one's.
pub(super) fn products(side: usize) -> String {
    let mut out = String::new();
    let matrix = |role: char| format!("coop_mat{side}x{side}<f16, {role}>");
    for i in 0..SQUARES {
        let at = i * side;
        let _ = writeln!(out, "            let x{i} = coopLoad<{}>(&left_half[l + {at}u], TILE_M);", matrix('A'));
        let _ = writeln!(out, "            let y{i} = coopLoadT<{}>(&right_half[r + {at}u], TILE_N);", matrix('B'));
    }
    for (i, j) in pairs(SQUARES, SQUARES) {
        let _ = writeln!(out, "            s{i}_{j} = coopMultiplyAdd(x{i}, y{j}, s{i}_{j});");
    }
    out
}

/// One square after the other goes through workgroup memory.
pub(super) fn store(side: usize) -> String {
    let mut out = String::new();
    for (i, j) in pairs(SQUARES, SQUARES) {
        let (row, column) = (i * side, j * side);
        let _ = writeln!(out, "    coopStoreT(s{i}_{j}, &squares[team * SIDE * SIDE], SIDE);\n    workgroupBarrier();");
        let _ = writeln!(
            out,
            "    keep(first_row + my_row + {row}u, (column0 + my_column + {column}u) / 4u);\n    workgroupBarrier();"
        );
    }
    out
}

/// The lines that bring both factors into workgroup memory.
pub(super) fn staged(ta: bool, tb: bool, [left, right]: &[Source; 2]) -> [(&'static str, String); 2] {
    let (memory, tile, start) = ("left_half", "TILE_M", "first_row");
    let left = Stage { factor: left, memory, name: "a", tile, start, along_inner: !ta };
    let (memory, tile, start) = ("right_half", "TILE_N", "column0");
    let right = Stage { factor: right, memory, name: "b", tile, start, along_inner: tb };
    [("stage left", left.text()), ("stage right", right.text())]
}

/// A factor on its way into workgroup memory, where it lies as [inner][outer].
struct Stage<'a> {
    factor: &'a Source,
    /// The memory: values in half precision.
    memory: &'a str,
    /// The names of the factor's dimensions and of its tile's extent.
    name: &'a str,
    tile: &'a str,
    /// Where the tile starts in the outer dimension.
    start: &'a str,
    /// Whether storage runs along the inner dimension.
    along_inner: bool,
}

impl Stage<'_> {
    /// Copies four values; outside the matrix they are zero.
    fn text(&self) -> String {
        let Stage { factor, memory, name, tile, start, along_inner } = self;
        let (inner, outer) = ("k0 + inner".to_string(), format!("{start} + outer"));
        let (slow, fast, width, row, column, inside) = match along_inner {
            true => {
                ("outer", "inner", "DEPTH", &outer, &inner, format!("{outer} < {name}_extent() && {inner} < k_end"))
            }
            false => (
                "inner",
                "outer",
                *tile,
                &inner,
                &outer,
                format!("({outer}) / 4u < dims.{name}_quads && {inner} < k_end"),
            ),
        };
        let value = factor.at(&format!("({row}) * dims.{name}_quads + ({column}) / 4u"));
        let mut out = format!(
            "            let {slow} = i / ({width} / 4u);\n            let {fast} = i % ({width} / 4u) * 4u;\n            \
             var v = vec4<f32>();\n            if ({inside}) {{\n                v = {value};\n            }}\n"
        );
        for (l, lane) in LANES.iter().enumerate() {
            let at = match along_inner {
                true => format!("(inner + {l}u) * {tile} + outer"),
                false => format!("inner * {tile} + outer + {l}u"),
            };
            let _ = writeln!(out, "            {memory}[{at}] = f16(v.{lane});");
        }
        out
    }
}
