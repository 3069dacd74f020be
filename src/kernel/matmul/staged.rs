//! A factor on its way into workgroup memory: which quads of a tile each thread fetches, where they lie in storage, and up
//! to which step of the inner dimension there are any. All that stays the same from round to round is worked out before
//! the first one.

use std::fmt::Write as _;

use super::{Form, Source};

/// The part of a factor's tile that some threads stage together.
pub(super) struct Staged<'a> {
    /// The prefix of its dimensions and of the variables of its lines.
    pub(super) name: &'static str,
    pub(super) source: &'a Source,
    /// Whether storage runs along the inner dimension.
    pub(super) along_inner: bool,
    /// Values of the outer dimension: a multiple of four.
    pub(super) outer: usize,
    /// Steps of the inner dimension: a multiple of four.
    pub(super) depth: usize,
    /// The threads, and what a thread calls its place among them.
    pub(super) threads: usize,
    pub(super) seat: &'static str,
    /// The end of the outer dimension: in rows of storage, or, where storage runs along it, in quads.
    pub(super) end: &'static str,
    /// Whether quads are in half precision on their way, whatever they are in storage.
    pub(super) half: bool,
}

impl Staged<'_> {
    /// Quads of a row of storage that belong to the tile.
    fn wide(&self) -> usize {
        if self.along_inner { self.depth / 4 } else { self.outer / 4 }
    }

    /// Quads of the tile.
    fn count(&self) -> usize {
        self.outer * self.depth / 4
    }

    /// The type of a quad on its way.
    fn quad(&self) -> &'static str {
        if self.half { "vec4<f16>" } else { "T" }
    }

    /// What the quads that a thread fetches are called, with the condition, if there is one, that it fetches them.
    pub(super) fn fetches(&self) -> impl Iterator<Item = (String, Option<String>)> {
        (0..self.count().div_ceil(self.threads)).map(|f| {
            let left = self.count() - f * self.threads;
            let some = (left < self.threads).then(|| format!("{} < {left}u", self.seat));
            (format!("{}{f}", self.name), some)
        })
    }

    /// The lines before the first round. `first_NAME` is the tile's first quad of the outer dimension, `k0` the first
    /// step, `k_end` where steps end. Of a quad, `_down` is its row among the tile's rows of storage and `_over` its place
    /// there.
    pub(super) fn start(&self) -> String {
        let (Staged { name, along_inner, seat, end, .. }, quad) = (self, self.quad());
        let mut out = String::new();
        let move_on = if *along_inner { "DEPTH / 4u".into() } else { format!("DEPTH * dims.{name}_quads") };
        let _ = writeln!(out, "    let {name}_move = {move_on};");
        for (f, (fetch, some)) in self.fetches().enumerate() {
            let (at, wide) = (format!("({seat} + {}u)", f * self.threads), self.wide());
            let _ = writeln!(out, "    let {fetch}_down = {at} / {wide}u;\n    let {fetch}_over = {at} % {wide}u;");
            let (outer, step, start) = match along_inner {
                true => (
                    format!("first_{name} * 4u + {fetch}_down"),
                    format!("{fetch}_over * 4u"),
                    format!("{fetch}_outer * dims.{name}_quads + k0 / 4u + {fetch}_over"),
                ),
                false => (
                    format!("first_{name} + {fetch}_over"),
                    format!("{fetch}_down"),
                    format!("(k0 + {fetch}_down) * dims.{name}_quads + {fetch}_outer"),
                ),
            };
            let _ = writeln!(out, "    let {fetch}_outer = {outer};\n    var {fetch}_at = {start};");
            let inside = some.into_iter().chain([format!("{fetch}_outer < {end}")]).collect::<Vec<_>>().join(" && ");
            let _ = writeln!(out, "    let {fetch}_end = select(0u, max(k_end, {step}) - {step}, {inside});");
            let _ = writeln!(out, "    var {fetch} = {quad}();");
        }
        out
    }

    /// Reads the quads of the tile that starts at step `k0`, zeros outside the factor, and moves on.
    pub(super) fn fetch(&self) -> String {
        let (Staged { name, source, .. }, quad) = (self, self.quad());
        let mut out = String::new();
        for (fetch, _) in self.fetches() {
            let at = format!("{fetch}_at");
            let value = match (self.half, source.form) {
                (false, _) => source.at(&at),
                (true, Form::Half) => source.raw(&at),
                (true, _) => format!("{quad}({})", source.at(&at)),
            };
            let _ = writeln!(out, "        {fetch} = {quad}();\n        if (k0 < {fetch}_end) {{");
            let _ = writeln!(out, "            {fetch} = {value};\n        }}\n        {fetch}_at += {name}_move;");
        }
        out
    }
}
