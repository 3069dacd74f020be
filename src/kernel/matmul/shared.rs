//! The lines of the kernels that stage tiles in workgroup memory.

use std::fmt::Write as _;

use super::{LANES, Source, pairs};

/// A factor on its way into workgroup memory, where it lies as [inner][outer].
pub(super) struct Stage<'a> {
    pub(super) factor: &'a Source,
    /// The memory, and what lies there.
    pub(super) memory: &'a str,
    pub(super) element: &'a str,
    /// The names of the factor's dimensions and of its tile's extent.
    pub(super) name: &'a str,
    pub(super) tile: &'a str,
    /// Where the tile starts in the outer dimension.
    pub(super) start: &'a str,
    /// Whether storage runs along the inner dimension.
    pub(super) along_inner: bool,
}

impl Stage<'_> {
    /// Copies four values; outside the matrix they are zero.
    pub(super) fn text(&self) -> String {
        let Stage { factor, memory, element, name, tile, start, along_inner } = self;
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
            let _ = writeln!(out, "            {memory}[{at}] = {element}(v.{lane});");
        }
        out
    }
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
