//! The lines of the kernels that stage tiles in workgroup memory, in whole quads: each thread fetches at most one quad of
//! either factor, or four where they must be turned, keeps it in registers while the tile before is multiplied, and then
//! puts it into workgroup memory.
//!
//! What a thread reads there lies in rows of its own number of sixteen, one for each of its quads: so every first index is a
//! constant and every second one the same, which leaves one bound to check for each factor, and threads side by side
//! read the same quad of the left factor and quads side by side of the right one.

use std::fmt::Write as _;

use super::{LANES, Source, pairs};

/// Threads of a workgroup, down and across.
pub(super) const SIDE: usize = 16;

/// The rows of the left factor's part of workgroup memory: one quad longer than what they hold, so that threads which put
/// quads into rows one below the other do not all meet in one bank.
pub(super) const LEFT: &str = "array<vec4<f32>, 17>";
/// Those of the right factor's part.
pub(super) const RIGHT: &str = "array<vec4<f32>, 16>";

/// The tile of a workgroup, and how its factors lie in storage.
pub(super) struct Shared<'a> {
    /// Rows a thread.
    pub(super) rows: usize,
    /// Quads of columns a thread.
    pub(super) quads: usize,
    /// Steps of the inner dimension that are staged at a time: a multiple of four.
    pub(super) depth: usize,
    /// Whether the left factor is transposed.
    pub(super) ta: bool,
    /// Whether the right factor is transposed.
    pub(super) tb: bool,
    /// The bindings of both.
    pub(super) factors: &'a [Source; 2],
}

impl Shared<'_> {
    pub(super) fn hooks(&self) -> Vec<(&'static str, String)> {
        vec![("start", self.start()), ("fetch", self.fetch()), ("keep", self.keep()), ("products", self.products())]
    }

    /// Quads that a thread fetches of the right factor.
    fn quads_fetched(&self) -> usize {
        if self.tb { 4 } else { 1 }
    }

    /// Where what a thread fetches lies in the tile (in quads along rows of storage), and whether it fetches anything.
    fn start(&self) -> String {
        let (left, right) = (self.rows * SIDE * self.depth / 4, self.quads * SIDE * self.depth);
        // Of the left factor, rows of storage are rows of the tile or steps; of the right one steps or, four together,
        // columns.
        let left_wide = if self.ta { self.rows * SIDE / 4 } else { self.depth / 4 };
        let (right_wide, count) = if self.tb { (self.depth / 4, right / 4) } else { (self.quads * SIDE, right) };
        let mut out = String::new();
        for (name, wide, count) in [("a", left_wide, left), ("b", right_wide, count)] {
            let _ = writeln!(out, "    let {name}_fetches = lane < {count}u;");
            let _ = writeln!(out, "    let {name}_down = lane / {wide}u;\n    let {name}_over = lane % {wide}u;");
        }
        // Where a thread's quads of the left factor lie.
        let left = if self.ta && self.rows < 4 { "my_row / 4u".to_string() } else { format!("lane / {SIDE}u") };
        let _ = writeln!(out, "    let my_left = {left};\n    var fetched_a = T();");
        (0..self.quads_fetched()).for_each(|l| out.push_str(&format!("    var fetched_b{l} = T();\n")));
        out
    }

    /// Reads the quads of the tile that starts at step `k0`; zeros outside the factors.
    fn fetch(&self) -> String {
        let mut out = String::new();
        let (row, quad, inside) = match self.ta {
            true => ("k0 + a_down", "first_row / 4u + a_over", "k0 + a_down < k_end"),
            false => ("first_row + a_down", "k0 / 4u + a_over", "first_row + a_down < m"),
        };
        let quad_inside = if self.ta { "" } else { " && k0 + a_over * 4u < k_end" };
        self.read(&mut out, 0, "fetched_a", row, quad, &format!("{inside}{quad_inside}"));
        for l in 0..self.quads_fetched() {
            let (row, quad, inside) = match self.tb {
                true => {
                    let row = format!("(first_quad + b_down) * 4u + {l}u");
                    let inside = format!("{row} < dims.b_rows && k0 + b_over * 4u < k_end");
                    (row, "k0 / 4u + b_over", inside)
                }
                false => ("k0 + b_down".into(), "first_quad + b_over", "k0 + b_down < k_end".into()),
            };
            self.read(&mut out, 1, &format!("fetched_b{l}"), &row, quad, &inside);
        }
        out
    }

    fn read(&self, out: &mut String, factor: usize, name: &str, row: &str, quad: &str, inside: &str) {
        let side = ["a", "b"][factor];
        let value = self.factors[factor].at(&format!("({row}) * dims.{side}_quads + {quad}"));
        let _ = writeln!(out, "        {name} = T();");
        let _ = writeln!(
            out,
            "        if ({side}_fetches && {inside} && {quad} < dims.{side}_quads) {{\n            {name} = {value};\n        }}"
        );
    }

    /// Puts what was fetched into workgroup memory, four quads turned where the right factor lies along the inner dimension.
    fn keep(&self) -> String {
        let (rows, kept) = (self.rows, self.rows.div_ceil(4));
        let at = match self.ta {
            true => format!("[a_down * {kept}u + a_over % {kept}u][a_over / {kept}u]"),
            false => format!("[a_down % {rows}u * {}u + a_over][a_down / {rows}u]", self.depth / 4),
        };
        let mut out = format!("        if (a_fetches) {{\n            left{at} = fetched_a;\n        }}\n");
        out.push_str("        if (b_fetches) {\n");
        let mut put = |step: &str, quad: &str, value: &str| {
            let at = format!("[({step}) * QUADS + {quad} / {SIDE}u][{quad} % {SIDE}u]");
            let _ = writeln!(out, "            right{at} = {value};");
        };
        match self.tb {
            false => put("b_down", "b_over", "fetched_b0"),
            true => {
                for (l, lane) in LANES.iter().enumerate() {
                    let turned = (0..4).map(|i| format!("fetched_b{i}.{lane}")).collect::<Vec<_>>().join(", ");
                    put(&format!("b_over * 4u + {l}u"), "b_down", &format!("T({turned})"));
                }
            }
        }
        out.push_str("        }\n");
        out
    }

    /// All steps that were staged. Quads are named after their rows in workgroup memory.
    fn products(&self) -> String {
        let mut out = String::new();
        // Of a left factor that lies along the inner dimension a quad is four steps of a row, else four rows of a step.
        let left = |i: usize, step: usize| match self.ta {
            true => step * self.rows.div_ceil(4) + i / 4,
            false => i * self.depth / 4 + step / 4,
        };
        for step in 0..self.depth {
            let fresh = |i: &usize| if self.ta { *i } else { step }.is_multiple_of(4);
            for at in (0..self.rows).filter(fresh).map(|i| left(i, step)) {
                let _ = writeln!(out, "        let x{at} = left[{at}][my_left];");
            }
            for at in (0..self.quads).map(|j| step * self.quads + j) {
                let _ = writeln!(out, "        let y{at} = right[{at}][my_quad];");
            }
            for (i, j) in pairs(self.rows, self.quads) {
                // Where threads have fewer than four rows, several of them share a quad.
                let lane = match (self.ta, self.rows < 4) {
                    (false, _) => format!(".{}", LANES[step % 4]),
                    (true, false) => format!(".{}", LANES[i % 4]),
                    (true, true) => format!("[my_row % 4u + {i}u]"),
                };
                let _ = writeln!(out, "        s{i}_{j} += x{}{lane} * y{};", left(i, step), step * self.quads + j);
            }
        }
        out
    }
}
