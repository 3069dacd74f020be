//! A group's anchor: what its product or its reduction reads and how its loops are bounded.

use std::fmt::Write as _;

use super::bind::Emitter;
use super::body::Body;
use crate::error::{Error, Result};
use crate::graph::{NodeId, Op, Over, Reduction};
use crate::kernel::{Schedule, Source};
use crate::plan::choose::{Job, ROUNDS, down, far, part_of, product_rounds, reduced, steps};
use crate::plan::{AdapterKind, Target};

impl Emitter<'_> {
    /// Declares what the group's anchor needs, or a group without one, and binds the factors of a product.
    pub fn anchor(&mut self, job: &Job, target: &Target) -> Result<[Source; 2]> {
        let values = self.values;
        let Some(anchor) = job.group.anchor else {
            let row = if job.group.space.blocks() == 1 && !job.group.space.batched { "0u" } else { "i / dims.quads" };
            let _ = writeln!(self.functions, "fn row_of(i: u32) -> u32 {{ return {row}; }}");
            if let Schedule::Map { run, .. } = job.schedule {
                self.dim("run", run);
            }
            return Ok(<[Source; 2]>::default());
        };
        match (values.op(anchor), job.schedule) {
            (&Op::MatMul { a, b, ta, tb, parts }, Schedule::MatMul { tile, .. }) => {
                let [left, right] = job.octets;
                let factors = [self.load_factor(a, left)?, self.load_factor(b, right)?];
                let (left, right) = (values.shape(a), values.shape(b));
                self.dim("a_quads", left.stride() / 4);
                self.dim("b_quads", right.stride() / 4);
                self.dim("b_rows", right.blocks());
                self.dim("far", far(right, target));
                self.dim("down", down(left, tile, ta || tb));
                let inner = if ta { left.blocks() } else { left.columns() };
                let rounds = inner * if ta && left.batched { target.rows } else { 1 };
                self.check_rounds(anchor, product_rounds(part_of(rounds, parts)), target)?;
                if parts > 1 {
                    let space = &job.group.space;
                    let rows = space.matrix_rows(target.rows) / parts;
                    self.dim("part_groups", tile.groups(rows, space.stride() / 4));
                }
                self.dim("inner", inner);
                self.extent("inner_extent", "inner", ta && left.batched);
                self.functions.push_str("fn a_extent() -> u32 { return space_rows(); }\n");
                self.functions.push_str("fn b_extent() -> u32 { return dims.b_rows; }\n");
                Ok(factors)
            }
            (&Op::Reduce { op, over, input }, Schedule::ReduceColumns { lanes } | Schedule::ReduceRows { lanes }) => {
                self.reduction(op, over, input)?;
                let count = steps(values.shape(input), over, target);
                self.check_rounds(anchor, count.div_ceil(lanes as usize), target)?;
                Ok(<[Source; 2]>::default())
            }
            _ => Err(Error::Internal(format!("{} is no anchor", values.graph.describe(anchor)))),
        }
    }

    /// Declares how values are reduced, and over what.
    fn reduction(&mut self, op: Reduction, over: Over, input: NodeId) -> Result<()> {
        let (neutral, combine, including) = match op {
            Reduction::Sum => ("T()", "a + b", "plus(total, next)"),
            // Minus infinity, which WGSL has no constant for.
            Reduction::Max => (
                "bitcast<T>(vec4<u32>(0xff800000u | none))",
                "or_nan(max(a, b), is_nan(a) | is_nan(b))",
                "Total(combine(total.sum, next), T())",
            ),
        };
        let _ = writeln!(self.functions, "fn neutral() -> T {{ return {neutral}; }}");
        let _ = writeln!(self.functions, "fn combine(a: T, b: T) -> T {{ return {combine}; }}");
        let _ = writeln!(self.functions, "fn including(total: Total, next: T) -> Total {{ return {including}; }}");
        let from = self.values.shape(input).clone();
        let by_columns = over == Over::Columns;
        let mut body = Body::new(&from, if by_columns { "dims.from_quads" } else { "dims.quads" });
        // Computed on the way in where nobody else reads it, found in memory otherwise.
        let value = self.operand(&mut body, input, &from)?;
        self.function("value", "", &body.lines, Some(&value));
        if by_columns {
            self.dim("from_quads", from.stride() / 4);
            self.dim("from_columns", from.columns());
            return Ok(());
        }
        let (outer, inner) = match over {
            Over::Blocks => (from.blocks(), 1),
            Over::Inner => (from.inner(), 1),
            Over::Batch => (1, from.blocks()),
            Over::Rows | Over::Columns => (0, 1),
        };
        let (count, batched) = reduced(&from, over);
        self.dim("outer", outer);
        self.dim("inner", inner);
        self.dim("reduced", count);
        self.extent("reduced_rows", "reduced", batched);
        Ok(())
    }

    /// Refuses loops that software adapters would cut short.
    pub fn check_rounds(&self, node: NodeId, rounds: usize, target: &Target) -> Result<()> {
        if target.kind == AdapterKind::Hardware || rounds <= ROUNDS {
            return Ok(());
        }
        let what = format!("the loops of {}", self.values.graph.describe(node));
        let (needs, allowed) = (rounds as u64, ROUNDS as u64);
        Err(Error::Limit { what, needs, allowed, limit: "rounds of a loop on software adapters" })
    }
}
