//! How a node's value comes into a function: from a register, from memory in any of the ways that tensors lie there, or by
//! being computed.

use std::fmt::Write as _;

use super::bind::{Element, Emitter};
use super::body::Body;
use super::text::literal;
use crate::error::{Error, Result};
use crate::graph::{Access, Expr, Function, Kind, NodeId, Op, OwnKernel, Scalars, Shape, Sink};
use crate::kernel::Need;
use crate::kernel::renamed;
use crate::plan::slots::packed_bytes;
use crate::plan::values::Way;
use crate::plan::{Place, Role};

impl Emitter<'_> {
    /// The name of a node's value at (row, c), computed or read on first use.
    pub fn value(&mut self, body: &mut Body, id: NodeId) -> Result<String> {
        if let Some(name) = body.values.get(&id) {
            return Ok(name.clone());
        }
        let node = self.values.graph.node(id);
        let text = match &node.op {
            Op::Map { expr, inputs } => {
                let mut names = Vec::with_capacity(inputs.len());
                for &input in inputs {
                    names.push(self.operand(body, input, &node.shape)?);
                }
                return self.remember(body, id, expr, &names);
            }
            Op::Fill(v) => format!("T({})", literal(*v)?),
            Op::Identity => format!("identity(row % {}u, c)", node.shape.columns()),
            Op::Gather { shuffled } => {
                if *shuffled {
                    self.needs.insert(Need::Random);
                }
                let row = match (shuffled, body.source) {
                    (true, true) => "source",
                    (true, false) => "permute(state.first_row + row)",
                    (false, _) => "(state.first_row + row)",
                };
                let bytes = packed_bytes(self.data_elements());
                self.packed(Place { role: Role::Data, offset: 0, bytes }, row, node.shape.columns())
            }
            Op::Input(i) if self.values[id].way == Way::Element => {
                let bytes = self.input_bytes(*i);
                self.packed(Place { role: Role::Input(*i), offset: 0, bytes }, "row", node.shape.columns())
            }
            Op::View(input) if matches!(self.values.op(*input), Op::Table(_)) => {
                self.operand(body, *input, &node.shape)?
            }
            Op::View(input) if self.values[id].way == Way::ByValue => self.reshaped(*input, &node.shape)?,
            Op::Columns { input, offset } => self.moved(body, *input, *offset)?,
            Op::Own { kernel, inputs } => self.own(id, &*kernel.0, inputs)?,
            // Found in memory, or in the register that its group's anchor is in.
            Op::Param(_) | Op::Constant(_) | Op::Arena(_) | Op::Table(_) | Op::Input(_) | Op::View(_) => {
                return self.operand(body, id, body.space);
            }
            Op::Reduce { .. } | Op::MatMul { .. } => return self.operand(body, id, body.space),
        };
        let name = body.line(text);
        body.values.insert(id, name.clone());
        Ok(name)
    }

    fn data_elements(&self) -> usize {
        self.places.buffers.iter().find(|(r, _)| *r == Role::Data).map_or(0, |(_, bytes)| *bytes as usize / 4)
    }

    fn input_bytes(&self, i: usize) -> u64 {
        self.places.buffers.iter().find(|(r, _)| *r == Role::Input(i)).map_or(16, |(_, bytes)| *bytes)
    }

    /// A value as a node of shape `space` reads it: from a register, or from memory.
    pub fn operand(&mut self, body: &mut Body, id: NodeId, space: &Shape) -> Result<String> {
        let home = self.values.home(id);
        let computed_here = body.values.contains_key(&home) || !self.places.of.contains_key(&home);
        if computed_here && self.values.in_register(id, space) {
            return self.value(body, home);
        }
        if let Op::Table(column) = *self.values.op(id) {
            let scalar = self.scalar(id, column)?;
            return Ok(body.line(format!("T({scalar})")));
        }
        let shape = self.values.shape(id);
        let access = Access::new(shape, space)
            .ok_or_else(|| Error::shape(format!("reading {}", self.values.graph.describe(id)), shape, space))?;
        let quads = self.load_quads(id)?;
        let row = self.row(access);
        let text = match (access.splat, row.as_str()) {
            (true, row) => format!("T({}.x)", quads.at(row)),
            (false, "0u") => quads.at("c"),
            (false, row) => quads.at(&format!("{row} * {} + c", body.quads)),
        };
        Ok(body.line(text))
    }

    /// The text of this step's value of a scalar.
    fn scalar(&mut self, id: NodeId, column: usize) -> Result<String> {
        let place = self.loaded(id)?;
        let table = self.bind(place, Element::Table, false);
        let (quads, rows) = (self.values.graph.scalars.quads(), self.values.graph.scalars.rows());
        let updates = self.values.graph.sinks().iter().any(|(sink, _)| matches!(sink, Sink::Update(_)));
        let row = if updates { "state.update_row" } else { "state.table_row" };
        let whole = rows == Scalars::STEPS;
        let row = if whole { row.into() } else { format!("{row} % {rows}u") };
        let at = if quads == 1 { row } else { format!("({row}) * {quads}u + {}u", column / 4) };
        Ok(format!("{table}[{at}].{}", ["x", "y", "z", "w"][column % 4]))
    }

    /// The text of a tensor's matrix row.
    fn row(&mut self, access: Access) -> String {
        if access.same_row {
            return "row".into();
        }
        let mut parts = Vec::new();
        let blocks = self.dim_for("block_rows_", access.space_blocks);
        if access.batch_stride > 0 {
            let stride = self.dim_for("row_stride_", access.batch_stride);
            parts.push(format!("row / {blocks} * {stride}"));
        }
        if access.modulus > 1 {
            let divisor = self.dim_for("row_divisor_", access.divisor);
            let modulus = self.dim_for("row_modulus_", access.modulus);
            parts.push(format!("row % {blocks} / {divisor} % {modulus}"));
        }
        match parts.as_slice() {
            [] => "0u".into(),
            parts => format!("({})", parts.join(" + ")),
        }
    }

    /// Four values of a row without padding. Lanes past the end of the row hold whatever comes next: they are never
    /// stored or summed.
    fn packed(&mut self, place: Place, row: &str, columns: usize) -> String {
        if columns.is_multiple_of(4) {
            let width = self.dim_for("packed_quads_", columns / 4);
            return self.quads(place, false).at(&format!("{row} * {width} + c"));
        }
        let name = self.bind(place, Element::Single, false);
        let width = self.dim_for("packed_columns_", columns);
        let start = format!("{row} * {width} + c * 4u");
        format!("vec4<f32>({name}[{start}], {name}[{start} + 1u], {name}[{start} + 2u], {name}[{start} + 3u])")
    }

    /// Four values of a tensor whose rows are cut differently.
    fn reshaped(&mut self, input: NodeId, to: &Shape) -> Result<String> {
        let from = self.values.shape(input).clone();
        let place = self.loaded(input)?;
        let name = self.bind(place, Element::Single, false);
        let width = self.dim_for("view_columns_", to.columns());
        let (old_width, old_stride) =
            (self.dim_for("viewed_columns_", from.columns()), self.dim_for("viewed_stride_", from.stride()));
        let lanes = (0..4).map(|l| {
            let at = format!("(row * {width} + c * 4u + {l}u)");
            format!("{name}[{at} / {old_width} * {old_stride} + {at} % {old_width}]")
        });
        Ok(format!("vec4<f32>({})", lanes.collect::<Vec<_>>().join(", ")))
    }

    /// Four values of a tensor whose columns are moved: one stored quad, or the end of one and the start of the next.
    fn moved(&mut self, body: &mut Body, input: NodeId, offset: isize) -> Result<String> {
        let from = self.load_quads(input)?;
        let quads = self.dim_for("moved_quads_", self.values.shape(input).stride() / 4);
        // Counted in u32, what lies before the first quad lies behind the last. Both are zero, as is the padding.
        let skipped = offset.div_euclid(4) as u32;
        let mut quad = |skipped: u32| {
            let at = body.line(format!("c + {skipped}u"));
            let value = from.at(&format!("row * {quads} + min({at}, {quads} - 1u)"));
            format!("select(T(), {value}, {at} < {quads})")
        };
        let first = quad(skipped);
        let (end, start) = match offset.rem_euclid(4) {
            1 => ("yzw", "x"),
            2 => ("zw", "xy"),
            3 => ("w", "xyz"),
            _ => return Ok(first),
        };
        let second = quad(skipped.wrapping_add(1));
        let (first, second) = (body.line(first), body.line(second));
        Ok(format!("T({first}.{end}, {second}.{start})"))
    }

    /// Four values of a kernel of the caller's own, which is declared with a function for each tensor that it reads.
    fn own(&mut self, id: NodeId, kernel: &dyn OwnKernel, inputs: &[NodeId]) -> Result<String> {
        let (name, values) = (format!("own_{}", id.0), self.values);
        let shapes: Vec<&Shape> = inputs.iter().map(|&input| values.shape(input)).collect();
        let (mut text, mut head) = (kernel.wgsl(&shapes), String::new());
        for (i, (&input, shape)) in inputs.iter().zip(&shapes).enumerate() {
            let scalar = match *values.op(input) {
                Op::Table(column) => Some(self.scalar(input, column)?),
                _ => None,
            };
            let blocks = self.dim_for("own_rows_", shape.blocks());
            let rows = if shape.batched { format!("state.rows * {blocks}") } else { blocks };
            let columns = self.dim_for("own_columns_", shape.columns());
            let stride = self.dim_for("own_stride_", shape.stride());
            let read = match scalar {
                Some(scalar) => scalar,
                None => {
                    let place = self.loaded(input)?;
                    let from = self.bind(place, Element::Single, false);
                    format!("{from}[select(0u, row * {stride} + column, inside)]")
                }
            };
            let _ = write!(
                self.functions,
                "fn {name}_{i}(row: u32, column: u32) -> f32 {{\n    let inside = row < {rows} && column < {columns};\n    \
                 return select(0.0, {read}, inside);\n}}\n"
            );
            let _ = write!(head, "    let rows_{i} = {rows};\n    let columns_{i} = {columns};\n");
            text = renamed(&text, &format!("input_{i}"), &format!("{name}_{i}"));
        }
        let _ = write!(self.functions, "fn {name}(row: u32, column: u32) -> f32 {{\n{head}{text}}}\n");
        let last = self.dim_for("own_last_", values.shape(id).columns() - 1);
        let lanes = (0..4).map(|l| format!("{name}(row, min(c * 4u + {l}u, {last}))"));
        Ok(format!("vec4<f32>({})", lanes.collect::<Vec<_>>().join(", ")))
    }

    fn remember(&mut self, body: &mut Body, id: NodeId, expr: &Expr, inputs: &[String]) -> Result<String> {
        let calls = |kind: &Kind| match kind {
            Kind::Random(..) => Some(Need::Random),
            Kind::Unary(Function::Sin | Function::Cos, _) => Some(Need::Angle),
            _ => None,
        };
        self.needs.extend(expr.ordered().iter().filter_map(|(part, _)| calls(&part.0)));
        let name = body.expr(expr, inputs)?;
        body.values.insert(id, name.clone());
        Ok(name)
    }
}
