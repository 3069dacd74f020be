//! The lines of the kernels that read both factors straight from storage. Alone, a thread reads what its rows and columns
//! need; in a subgroup each reads a share of what the rows need and passes it on, so that no value is read twice.

use std::fmt::{self, Write as _};

use super::{AHEAD, LANES, SUBGROUP, Source, pairs, piece};
use crate::kernel::{Form, when};

/// The tile of a thread, and how it comes by its factors.
pub(super) struct Registers<'a> {
    /// Rows a thread.
    pub(super) rows: usize,
    /// Quads of columns a thread.
    pub(super) quads: usize,
    /// Threads that share what the rows need: one or a subgroup.
    pub(super) threads: usize,
    /// Whether the left factor is transposed.
    pub(super) ta: bool,
    /// Whether the right factor is transposed.
    pub(super) tb: bool,
    /// Parts of the inner dimension that workgroups of their own add up.
    pub(super) parts: usize,
    /// The bindings of both.
    pub(super) factors: &'a [Source; 2],
}

impl Registers<'_> {
    /// The lines of the kernel; what follows the product is `short` or not.
    pub(super) fn hooks(&self, short: bool) -> Vec<(&'static str, String)> {
        let Registers { rows, quads, .. } = self;
        vec![
            (
                "consts",
                format!(
                    "const ROWS: u32 = {rows}u;\nconst QUADS: u32 = {quads}u;\nconst AHEAD: u32 = {AHEAD}u;\n\
                     const PARTS: u32 = {}u;",
                    self.parts.max(1)
                ),
            ),
            piece(self.parts),
            ("if whole", when(self.parts <= 1)),
            ("if in parts", when(self.parts > 1)),
            ("zero sums", lines(|o| self.sums().try_for_each(|(i, j)| writeln!(o, "    var s{i}_{j} = vec4<f32>();")))),
            ("store sums", lines(|o| self.store(o, short))),
            ("if through memory", when(!short)),
            ("if alone", when(self.threads == 1)),
            ("if together", when(self.threads > 1)),
            ("if ahead", when(self.ahead())),
            ("if not ahead", when(!self.ahead())),
            ("starts", lines(|o| self.starts(o))),
            ("ask", lines(|o| self.ask(o))),
            ("factors", lines(|o| self.read(o))),
            ("products", lines(|o| self.products(o))),
        ]
    }

    /// The row and the quad of each of a thread's sums.
    fn sums(&self) -> impl Iterator<Item = (usize, usize)> {
        pairs(self.rows, self.quads)
    }

    /// Through memory, what follows the product is compiled once, not for every sum. (A loop over a local array would do,
    /// if compilers did not make a ladder of branches of it.)
    fn store(&self, o: &mut String, short: bool) -> fmt::Result {
        self.sums().try_for_each(|(i, j)| match short {
            false => writeln!(o, "    sums[mine + {}u] = s{i}_{j};", i * self.quads + j),
            true => {
                let (row, c) = (format!("row0 + {i}u"), format!("c0 + {j}u"));
                let inside = format!("{row} < m && {c} < dims.quads");
                let result = if self.parts > 1 { format!("({row}) * PARTS + piece") } else { row };
                writeln!(o, "    if ({inside}) {{\n        body({result}, {c}, s{i}_{j});\n    }}")
            }
        })
    }

    /// Whether a factor is read by octets.
    fn octets(&self, factor: usize) -> bool {
        self.factors[factor].form == Form::Octet
    }

    /// Neighbouring rows in what a thread reads of the left factor at a time, where it lies transposed.
    fn neighbours(&self) -> usize {
        if self.octets(0) { 8 } else { 4 }
    }

    /// Steps that one reading of the subgroup serves for all rows, where the left factor lies transposed.
    fn steps(&self) -> usize {
        let needed = self.rows.div_ceil(self.neighbours()).next_power_of_two();
        (self.threads / needed).clamp(1, 4)
    }

    /// What a thread reads for its rows at a time: four steps of a row, or one step of neighbouring rows.
    fn shares(&self) -> usize {
        let (steps, rows) = if self.ta { (self.steps(), self.neighbours()) } else { (1, 1) };
        self.rows.div_ceil(self.threads / steps * rows)
    }

    /// Threads that read what one step needs of a left factor that lies transposed.
    fn together(&self) -> usize {
        self.threads / self.steps()
    }

    /// Readings of the left factor and of the right one that four steps take.
    pub(super) fn loads(&self) -> [usize; 2] {
        let left = self.shares() * if self.ta { 4 / self.steps() } else { 1 };
        [left, 4 * self.quads / if self.octets(1) { 2 } else { 1 }]
    }

    /// Where each of the thread's rows and columns starts in storage. What lies beyond the edge reads the last row or
    /// column instead: its sums are not kept.
    fn starts(&self, o: &mut String) -> fmt::Result {
        for (factor, name) in [(0, 'a'), (1, 'b')] {
            let octets = if self.octets(factor) { " / 2u" } else { "" };
            writeln!(o, "    let {name}_width = dims.{name}_quads{octets};")?;
        }
        let (together, neighbours) = (self.together(), self.neighbours());
        for i in 0..self.shares() {
            match self.ta {
                true => {
                    let own = if together > 1 { format!(" + lane % {together}u") } else { String::new() };
                    let first = format!("row0 / {neighbours}u + {}u{own}", i * together);
                    writeln!(o, "    let a{i} = min({first}, a_width - 1u);")?
                }
                false => {
                    let own = if self.threads > 1 { " + lane" } else { "" };
                    writeln!(o, "    let a{i} = min(row0 + {}u{own}, m - 1u) * a_width;", i * self.threads)?
                }
            }
        }
        let (first, count) = if self.octets(1) { ("c0 / 2u", self.quads / 2) } else { ("c0", self.quads) };
        match self.tb {
            true => (0..self.quads * 4)
                .try_for_each(|j| writeln!(o, "    let b{j} = min(c0 * 4u + {j}u, dims.b_rows - 1u) * b_width;")),
            false => (0..count).try_for_each(|j| writeln!(o, "    let b{j} = min({first} + {j}u, b_width - 1u);")),
        }
    }

    /// Whether what the next steps need can be asked for together: rows of the right factor.
    fn ahead(&self) -> bool {
        self.threads > 1 && !self.tb
    }

    /// Reads a value of each cache line that four steps need of whichever factor has a row for each: a line holds four
    /// quads or two octets, and a load asks for two lines of four rows.
    fn ask(&self, o: &mut String) -> fmt::Result {
        let mut lines = |factor: usize, width: &str, first: String, count: usize| {
            let (each, word) = if self.octets(factor) { (2, "u32") } else { (4, "bitcast<u32>") };
            (0..count).try_for_each(|at| {
                let place = format!("min({first} + {}u + lane % 2u * {each}u, {width} - 1u)", at * 2 * each);
                let value = self.factors[factor].at(&format!("min(k + lane / 2u, k_end - 1u) * {width} + {place}"));
                writeln!(o, "        asked |= {word}({value}.x);")
            })
        };
        let first = format!("(c0 - lane * QUADS) / {}u", if self.octets(1) { 2 } else { 1 });
        lines(1, "b_width", first, self.quads)?;
        let rows = if self.ta { self.rows.div_ceil(32) } else { 0 };
        lines(0, "a_width", format!("row0 / {}u", self.neighbours()), rows)
    }

    /// What four steps of the inner loop need of both factors. A factor along the inner dimension is zero behind its end;
    /// the other one may be anything there, so its last row is read again. Where neither lies so, the left one is cut.
    fn read(&self, o: &mut String) -> fmt::Result {
        for i in 0..self.shares() {
            if !self.ta {
                writeln!(o, "        let p{i} = {};", self.factors[0].at(&format!("a{i} + k / 4u")))?;
                continue;
            }
            for step in (0..4).step_by(self.steps()) {
                let own = if self.steps() > 1 { format!(" + lane / {}u", self.together()) } else { String::new() };
                let inside = if self.tb { None } else { Some(format!("k + {step}u{own} < k_end")) };
                let at = format!("min(k + {step}u{own}, k_end - 1u) * a_width + a{i}");
                self.load(o, 0, &at, inside, [0, 1].map(|half| format!("p{i}_{step}_{half}")))?;
            }
        }
        if !self.tb {
            let together = if self.octets(1) { 2 } else { 1 };
            return pairs(4, self.quads / together).try_for_each(|(step, j)| {
                let at = format!("min(k + {step}u, k_end - 1u) * b_width + b{j}");
                self.load(o, 1, &at, None, [0, 1].map(|half| format!("y{step}_{}", j * together + half)))
            });
        }
        for j in 0..self.quads * 4 {
            writeln!(o, "        let q{j} = {};", self.factors[1].at(&format!("b{j} + k / 4u")))?;
        }
        pairs(4, self.quads).try_for_each(|(step, j)| {
            let [x, y, z, w] = [0, 1, 2, 3].map(|l| format!("q{}.{}", j * 4 + l, LANES[step]));
            writeln!(o, "        let y{step}_{j} = T({x}, {y}, {z}, {w});")
        })
    }

    /// Reads a quad as the first name, or the two of an octet as both; zeros where `inside` does not hold.
    fn load(
        &self,
        o: &mut String,
        factor: usize,
        at: &str,
        inside: Option<String>,
        [first, second]: [String; 2],
    ) -> fmt::Result {
        let (octets, value) = (self.octets(factor), self.factors[factor].at(at));
        let zero = if octets { "vec4<u64>()" } else { "T()" };
        let value = match inside {
            Some(inside) => format!("select({zero}, {value}, {inside})"),
            None => value,
        };
        if !octets {
            return writeln!(o, "        let {first} = {value};");
        }
        writeln!(o, "        let {first}_both = {value};")?;
        writeln!(o, "        let {first} = unpack({first}_both.xy);")?;
        writeln!(o, "        let {second} = unpack({first}_both.zw);")
    }

    /// Four steps of the inner loop, quad by quad of columns and row by row: so a row's sums stay in registers for all
    /// four, and a quad's right factors for all rows.
    fn products(&self, o: &mut String) -> fmt::Result {
        for (j, i) in pairs(self.quads, self.rows) {
            for step in 0..4 {
                writeln!(o, "        s{i}_{j} += {} * y{step}_{j};", self.row(i, step))?;
            }
        }
        Ok(())
    }

    /// The left factor's value for a row, from the thread that has read it.
    fn row(&self, row: usize, step: usize) -> String {
        let (place, value) = match self.ta {
            true => {
                let (steps, together) = (self.steps(), self.together());
                let (group, at) = (row / self.neighbours(), row % self.neighbours());
                let (share, first) = (group / together, step / steps * steps);
                let value = format!("p{share}_{first}_{}.{}", at / 4, LANES[at % 4]);
                (step % steps * together + group % together, value)
            }
            false => (row % self.threads, format!("p{}.{}", row / self.threads, LANES[step])),
        };
        match self.threads {
            SUBGROUP => format!("subgroupBroadcast({value}, {place}u)"),
            _ => value,
        }
    }
}

fn lines(write: impl Fn(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out);
    out
}
