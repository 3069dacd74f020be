//! The lines of the kernels that read both factors straight from storage. Alone, a thread reads what its rows and columns
//! need; in a subgroup each reads a share of what the rows need and passes it on, so that no value is read twice.

use std::fmt::{self, Write as _};

use super::{LANES, SUBGROUP, Source, pairs};
use crate::kernel::when;

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
    /// The bindings of both.
    pub(super) factors: &'a [Source; 2],
}

impl Registers<'_> {
    /// Quads that a thread reads for its rows: of four rows each, or of one.
    fn shares(&self) -> usize {
        self.rows.div_ceil(self.threads * if self.ta { 4 } else { 1 })
    }

    pub(super) fn hooks(&self) -> Vec<(&'static str, String)> {
        vec![
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

    /// Where each of the thread's rows and columns starts in storage. What lies beyond the edge reads the last row or
    /// column instead: its sums are not kept.
    fn starts(&self, o: &mut String) -> fmt::Result {
        let (own, threads) = (if self.threads > 1 { " + lane" } else { "" }, self.threads);
        for i in 0..self.shares() {
            let at = i * threads;
            match self.ta {
                true => writeln!(o, "    let a{i} = min(row0 / 4u + {at}u{own}, dims.a_quads - 1u);")?,
                false => writeln!(o, "    let a{i} = min(row0 + {at}u{own}, m - 1u) * dims.a_quads;")?,
            }
        }
        match self.tb {
            true => (0..self.quads * 4)
                .try_for_each(|j| writeln!(o, "    let b{j} = min(c0 * 4u + {j}u, dims.b_rows - 1u) * dims.b_quads;")),
            false => (0..self.quads).try_for_each(|j| writeln!(o, "    let b{j} = min(c0 + {j}u, dims.quads - 1u);")),
        }
    }

    /// Whether what the next steps need can be asked for together: rows of the right factor.
    fn ahead(&self) -> bool {
        self.threads > 1 && !self.tb
    }

    /// Reads a value of each cache line that four steps need of whichever factor has a row for each: a line holds four
    /// quads, so two lines of four rows a load.
    fn ask(&self, o: &mut String) -> fmt::Result {
        let [left, right] = self.factors;
        let mut line = |source: &Source, quads: &str, first: &str, at: usize, last: &str| {
            let quad = format!("min({first} + {}u + lane % 2u * 4u, {last} - 1u)", at * 8);
            let value = source.at(&format!("min(k + lane / 2u, k_end - 1u) * {quads} + {quad}"));
            writeln!(o, "        asked |= bitcast<u32>({value}.x);")
        };
        (0..self.quads).try_for_each(|j| line(right, "dims.b_quads", "c0 - lane * QUADS", j, "dims.quads"))?;
        let rows = if self.ta { self.rows.div_ceil(32) } else { 0 };
        (0..rows).try_for_each(|i| line(left, "dims.a_quads", "row0 / 4u", i, "dims.a_quads"))
    }

    /// What four steps of the inner loop need of both factors. A factor along the inner dimension is zero behind its end;
    /// the other one may be anything there, so its last row is read again. Where neither lies so, the left one is cut.
    fn read(&self, o: &mut String) -> fmt::Result {
        let [left, right] = self.factors;
        if self.ta || !self.tb {
            (0..4).try_for_each(|step| writeln!(o, "        let k{step} = min(k + {step}u, k_end - 1u);"))?;
        }
        for i in 0..self.shares() {
            if !self.ta {
                writeln!(o, "        let p{i} = {};", left.at(&format!("a{i} + k / 4u")))?;
                continue;
            }
            for step in 0..4 {
                let value = left.at(&format!("k{step} * dims.a_quads + a{i}"));
                match self.tb {
                    true => writeln!(o, "        let p{i}_{step} = {value};")?,
                    false => writeln!(o, "        let p{i}_{step} = select(T(), {value}, k + {step}u < k_end);")?,
                }
            }
        }
        for j in 0..if self.tb { self.quads * 4 } else { 0 } {
            writeln!(o, "        let q{j} = {};", right.at(&format!("b{j} + k / 4u")))?;
        }
        pairs(4, self.quads).try_for_each(|(step, j)| match self.tb {
            true => {
                let [x, y, z, w] = [0, 1, 2, 3].map(|l| format!("q{}.{}", j * 4 + l, LANES[step]));
                writeln!(o, "        let y{step}_{j} = T({x}, {y}, {z}, {w});")
            }
            false => writeln!(o, "        let y{step}_{j} = {};", right.at(&format!("k{step} * dims.b_quads + b{j}"))),
        })
    }

    /// Four steps of the inner loop, row by row: so a row's sums stay in registers for all four.
    fn products(&self, o: &mut String) -> fmt::Result {
        for (i, step) in pairs(self.rows, 4) {
            writeln!(o, "        let x{i}_{step} = {};", self.row(i, step))?;
            (0..self.quads).try_for_each(|j| writeln!(o, "        s{i}_{j} += x{i}_{step} * y{step}_{j};"))?;
        }
        Ok(())
    }

    /// The left factor's value for a row, from the thread that has read it.
    fn row(&self, row: usize, step: usize) -> String {
        let (place, value) = match self.ta {
            true => (row / 4, format!("p{}_{step}.{}", row / 4 / self.threads, LANES[row % 4])),
            false => (row, format!("p{}.{}", row / self.threads, LANES[step])),
        };
        match self.threads {
            SUBGROUP => format!("subgroupBroadcast({value}, {}u)", place % SUBGROUP),
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
