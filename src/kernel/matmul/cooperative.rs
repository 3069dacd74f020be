//! The lines of the kernels that multiply by cooperative matrices.

use std::fmt::Write as _;

use super::pairs;

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
