//! The lines of the kernels that stage tiles in workgroup memory.

use std::fmt::Write as _;

use super::{LANES, Source, pairs};

/// Copies four values of a factor into workgroup memory, laid out [inner][outer]; outside the matrix they are zero.
/// `along_inner` says that storage runs along the inner dimension.
pub(super) fn stage(memory: &str, factor: &Source, name: &str, side: &str, start: &str, along_inner: bool) -> String {
    let tile = format!("TILE_{side}");
    let mut out = String::new();
    if along_inner {
        let _ =
            writeln!(out, "            let outer = i / (DEPTH / 4u);\n            let inner = i % (DEPTH / 4u) * 4u;");
        let _ = writeln!(out, "            var v = vec4<f32>();");
        let _ = writeln!(out, "            if ({start} + outer < {name}_extent() && k0 + inner < k_end) {{");
        let at = format!("({start} + outer) * dims.{name}_quads + (k0 + inner) / 4u");
        let _ = writeln!(out, "                v = {};\n            }}", factor.at(&at));
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
        let _ = writeln!(out, "                v = {};\n            }}", factor.at(&at));
        for (l, lane) in LANES.iter().enumerate() {
            let _ = writeln!(out, "            {memory}[inner * {tile} + outer + {l}u] = v.{lane};");
        }
    }
    out
}

pub(super) fn products(rows: usize, quads: usize) -> String {
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
