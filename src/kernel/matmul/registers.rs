//! The lines of the kernels that read both factors straight from storage. Alone, a thread reads what its rows and columns
//! need; in a subgroup each reads a share of what the rows need and passes it on, so that no value is read twice.

use std::fmt::{self, Write as _};

use super::{LANES, SUBGROUP, pairs};

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
    pub(super) factors: &'a [String; 2],
}

impl Registers<'_> {
    /// Whether a factor lies along the inner dimension, so that four steps are taken at a time.
    fn along(&self) -> bool {
        !self.ta || self.tb
    }

    /// Quads that a thread reads for its rows: of four rows each, or of one.
    fn shares(&self) -> usize {
        self.rows.div_ceil(self.threads * if self.ta { 4 } else { 1 })
    }

    pub(super) fn hooks(&self) -> Vec<(&'static str, String)> {
        let when = |condition: bool| String::from(if condition { "1" } else { "" });
        vec![
            ("if alone", when(self.threads == 1)),
            ("if together", when(self.threads > 1)),
            ("if along", when(self.along())),
            ("if across", when(!self.along())),
            ("starts", lines(|o| self.starts(o))),
            ("products along", lines(|o| self.along_inner(o))),
            ("products across", lines(|o| self.step(o, "        ", "k", 0))),
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

    /// Four steps of the inner loop, where a factor lies along the inner dimension and is read four values at a time.
    fn along_inner(&self, o: &mut String) -> fmt::Result {
        let [left, right] = self.factors;
        if !self.ta {
            (0..self.shares()).try_for_each(|i| writeln!(o, "        let p{i} = {left}[a{i} + k / 4u];"))?;
        }
        if self.tb {
            (0..self.quads * 4).try_for_each(|j| writeln!(o, "        let q{j} = {right}[b{j} + k / 4u];"))?;
        }
        for step in 0..4 {
            writeln!(o, "        {{")?;
            if self.ta || !self.tb {
                // Behind the end the other factor is zero: any row will do that is there.
                writeln!(o, "            let inner = min(k + {step}u, k_end - 1u);")?;
            }
            self.step(o, "            ", "inner", step)?;
            writeln!(o, "        }}")?;
        }
        Ok(())
    }

    /// One step of the inner loop at `inner`, the `step`th of four.
    fn step(&self, o: &mut String, indent: &str, inner: &str, step: usize) -> fmt::Result {
        let [left, right] = self.factors;
        if self.ta {
            for i in 0..self.shares() {
                writeln!(o, "{indent}let p{i} = {left}[{inner} * dims.a_quads + a{i}];")?;
            }
        }
        for j in 0..self.quads {
            match self.tb {
                true => {
                    let lane = |l: usize| format!("q{}.{}", j * 4 + l, LANES[step]);
                    let [x, y, z, w] = [0, 1, 2, 3].map(lane);
                    writeln!(o, "{indent}let y{j} = vec4<f32>({x}, {y}, {z}, {w});")?;
                }
                false => writeln!(o, "{indent}let y{j} = {right}[{inner} * dims.b_quads + b{j}];")?,
            }
        }
        for i in 0..self.rows {
            writeln!(o, "{indent}let x{i} = {};", self.row(i, step))?;
        }
        pairs(self.rows, self.quads).try_for_each(|(i, j)| writeln!(o, "{indent}s{i}_{j} += x{i} * y{j};"))
    }

    /// The left factor's value for a row, from the thread that has read it.
    fn row(&self, row: usize, step: usize) -> String {
        let (place, lane) = if self.ta { (row / 4, row % 4) } else { (row, step) };
        let value = format!("p{}.{}", place / self.threads, LANES[lane]);
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
