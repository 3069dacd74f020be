//! Emission: the WGSL of one dispatch, with its bindings, dimensions and grid.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::choose::{ROUNDS, choose_tile, down, far, lanes, map, octets, product, reduced, steps, wide};
use super::fuse::{Group, in_register, is_leaf, reduction, root};
use super::slots::Places;
use super::{AdapterKind, Cost, Dispatch, Place, Role, Target};
use crate::error::{Error, Result};
use crate::graph::{Access, Binary, Compare, Distribution, Expr, Graph, Kind, NodeId, Op, Over, Reduction, Shape};
use crate::graph::{Function, Layout, Sink};
use crate::kernel::{self, Form, Part, Schedule, Source};

/// How a storage range is declared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    /// Four neighbouring columns, or eight.
    Quad(Form),
    /// One value: for rows without padding.
    Single,
    /// Flags.
    Atomic,
    /// The table of hyperparameters, a row for each step: uniform, so that no thread reads a row of its own.
    Table,
}

struct Bound {
    place: Place,
    element: Element,
    name: String,
    written: bool,
}

/// A dispatch in the making.
struct Emitter<'a> {
    graph: &'a Graph,
    places: &'a Places,
    bound: Vec<Bound>,
    dims: Vec<(String, u32)>,
    functions: String,
    loads: Vec<(NodeId, Place)>,
    /// How quads lie in memory but for those in half precision.
    form: Form,
    /// What a thread does at its end for every flag that it may have to raise.
    raised: BTreeMap<&'static str, String>,
}

/// What went bad: a word of [`Role::Flags`].
enum Bad {
    Update,
    Gradient,
}

/// One WGSL function in the making: values at (`row`, `c`) of a space.
struct Body<'a> {
    space: &'a Shape,
    /// The dimension that holds the space's quads.
    quads: &'static str,
    lines: String,
    values: BTreeMap<NodeId, String>,
    known: HashMap<String, String>,
    /// Whether the row of the data is at hand.
    source: bool,
}

/// Results of a sum, or runs of quads, in a workgroup of software adapters, which share workgroups out to their threads:
/// there are seldom many.
const RESULTS: u32 = 8;

/// Lines of what follows a product that is written out for every sum: a gradient's, stored and looked at.
const SHORT: usize = 3;

/// Builds the dispatch of groups that run side by side.
pub(super) fn dispatch(graph: &Graph, stage: &[Group], places: &Places, target: &Target) -> Result<Dispatch> {
    let form = if wide(target) { Form::Wide } else { Form::Single };
    let (bound, dims, functions, loads, raised) = Default::default();
    let mut e = Emitter { graph, places, bound, dims, functions, loads, form, raised };
    let (mut parts, mut dims, mut extents, mut stores) = (vec![], vec![], vec![], vec![]);
    for group in stage {
        let (schedule, factors) = e.anchor(group, target)?;
        let (stored, lines) = e.body(group, schedule, target)?;
        // Writing out takes longer to compile and saves a way through memory.
        let short = lines <= SHORT && !target.quick;
        stores.extend(stored);
        let space = &group.space;
        let quads = space.stride() / 4;
        e.dim("quads", quads);
        e.dim("columns", space.columns());
        e.dim("blocks", space.blocks());
        e.extent("space_rows", "blocks", space.batched);
        let (names, values): (Vec<String>, Vec<u32>) = e.dims.drain(..).unzip();
        dims.extend(values);
        extents.push((space.matrix_rows(target.rows), quads));
        parts.push(Part { schedule, functions: std::mem::take(&mut e.functions), factors, dims: names, short });
    }
    let fixed = parts.iter().map(|p| p.schedule).find(|s| !s.any_workgroup());
    let free = parts.iter().map(|p| match p.schedule {
        Schedule::ReduceColumns { .. } | Schedule::ReduceRows { .. } if target.kind == AdapterKind::Software => RESULTS,
        Schedule::Map { .. } if target.kind == AdapterKind::Software => RESULTS,
        schedule => schedule.workgroup(),
    });
    let free = if target.kind == AdapterKind::Software { free.min() } else { free.max() };
    let workgroup = fixed.map(|s| s.workgroup()).or(free).unwrap_or(1);
    let each = parts.iter().zip(&extents);
    let counts: Vec<usize> = each.map(|(p, &(rows, quads))| p.schedule.groups(rows, quads, workgroup)).collect();
    dims.extend(counts[..counts.len() - 1].iter().map(|&count| count as u32));
    let total: usize = counts.iter().sum();
    let across = total.min(target.limits.workgroups as usize);
    if parts.len() > 1 {
        // Their product must fit 32 bits.
        let spread = target.kind == AdapterKind::Software && total == across && total < 1 << 16;
        dims.extend(if spread { [stride(across as u32), across as u32] } else { [1, u32::MAX] });
    }
    dims.push(across as u32);

    let mut bindings: String = e.raised.keys().map(|name| format!("var<private> {name}: bool;\n")).collect();
    bindings.push_str("@group(0) @binding(0) var<uniform> state: State;\n");
    bindings.push_str("@group(0) @binding(1) var<uniform> dims: Dims;\n");
    for (i, b) in e.bound.iter().enumerate() {
        let access = if b.written { "storage, read_write" } else { "storage, read" };
        let (space, kind) = match b.element {
            Element::Quad(form) => (access, format!("array<{}>", form.quad())),
            Element::Single => (access, "array<f32>".into()),
            Element::Atomic => (access, "array<atomic<u32>>".into()),
            Element::Table => ("uniform", format!("array<vec4<f32>, {}>", kernel::RING)),
        };
        let _ = writeln!(bindings, "@group(0) @binding({}) var<{space}> {}: {kind};", i + 2, b.name);
    }
    let nodes: Vec<NodeId> = stage.iter().flat_map(Group::nodes).collect();
    let named = |group: &Group| {
        let nodes: Vec<NodeId> = group.nodes().collect();
        let name = nodes.iter().rev().map(|&id| graph.node(id).name.as_str()).find(|n| !n.is_empty());
        name.unwrap_or("-").to_string()
    };
    let mut label = String::new();
    for (i, (group, part)) in stage.iter().zip(&parts).enumerate() {
        let name = named(group);
        // Neighbours mostly have one name.
        let name = if i > 0 && name == named(&stage[i - 1]) { String::new() } else { name + " " };
        let joint = if i > 0 { " + " } else { "" };
        let _ = write!(label, "{joint}{name}({})", part.schedule.name());
    }
    // What is read in two ways is still moved once; of a whole arena only what is written.
    let written: u64 = stores.iter().map(|(_, place): &(NodeId, Place)| place.bytes).sum();
    let mut read: Vec<Place> = e.bound.iter().filter(|b| !b.written).map(|b| b.place).collect();
    read.extend(e.loads.iter().map(|(_, place)| *place));
    read.sort();
    read.dedup();
    let flops = stage.iter().filter_map(|group| product(graph, group, target)).map(|product| product.flops()).sum();
    Ok(Dispatch {
        label,
        wgsl: kernel::source(&bindings, &parts, &e.raised.into_values().collect::<String>(), workgroup),
        schedules: parts.iter().map(|p| p.schedule).collect(),
        bindings: e.bound.iter().map(|b| b.place).collect(),
        dims,
        workgroups: [across as u32, total.div_ceil(across) as u32, 1],
        cost: Cost { flops, bytes: written + read.iter().map(|p| p.bytes).sum::<u64>() },
        nodes,
        stores,
        loads: e.loads,
    })
}

/// A step that leads through all of `total` workgroups. Software adapters give each of their threads workgroups that follow
/// one another, so the parts of a kernel must be mixed, or one thread gets a product and another the small work beside it;
/// but not too well, since what neighbours share is in their core's cache. The square root makes as many passes through
/// the parts as each has steps, so each of a few threads goes through all of them.
fn stride(total: u32) -> u32 {
    let coprime = |n: &u32| {
        let (mut a, mut b) = (total, *n);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (total.isqrt().max(1)..=total).find(coprime).unwrap_or(1)
}

impl Emitter<'_> {
    fn dim(&mut self, name: impl Into<String>, value: usize) {
        self.dims.push((name.into(), value as u32));
    }

    /// A function that gives an extent which may grow with the batch.
    fn extent(&mut self, function: &str, dim: &str, batched: bool) {
        let rows = if batched { "state.rows * " } else { "" };
        let _ = writeln!(self.functions, "fn {function}() -> u32 {{ return {rows}dims.{dim}; }}");
    }

    fn place(&self, id: NodeId) -> Result<Place> {
        let missing = || Error::Internal(format!("{} has no place", self.graph.describe(id)));
        self.places.of.get(&root(self.graph, id)).copied().ok_or_else(missing)
    }

    /// Binds a place and returns its name in the kernel.
    fn bind(&mut self, place: Place, element: Element, write: bool) -> String {
        if let Some(b) = self.bound.iter_mut().find(|b| b.place == place && b.element == element) {
            b.written |= write;
            return b.name.clone();
        }
        let name = format!("in{}", self.bound.len());
        self.bound.push(Bound { place, element, name: name.clone(), written: write });
        name
    }

    /// Binds a place of quads.
    fn quads(&mut self, place: Place, write: bool) -> Source {
        let form = if matches!(place.role, Role::Half(_)) { Form::Half } else { self.form };
        Source { name: self.bind(place, Element::Quad(form), write), start: String::new(), form }
    }

    /// Binds a place that is written. Tensors of an arena and terms are written through one binding of all of them, where
    /// that is allowed, so that dispatches of several need no more.
    fn bind_part(&mut self, place: Place, target: &Target) -> Source {
        let bytes = self.places.buffers.iter().find(|(role, _)| *role == place.role).map_or(0, |(_, bytes)| *bytes);
        if !matches!(place.role, Role::Arena(_) | Role::Terms) || bytes > target.limits.binding_bytes {
            return self.quads(place, true);
        }
        let whole = Place { offset: 0, bytes, ..place };
        let start = self.dim_for("start_", (place.offset / 16) as usize);
        Source { start: format!("{start} + "), ..self.quads(whole, true) }
    }

    /// Remembers that something went bad, where `condition` holds, until the thread is at its end.
    fn flag(&mut self, out: &mut String, what: Bad, condition: &str) {
        let flags = self.bind(Place { role: Role::Flags, offset: 0, bytes: 16 }, Element::Atomic, true);
        let (name, word) = match what {
            Bad::Update => ("bad_update", 0),
            Bad::Gradient => ("bad_gradient", 1),
        };
        let _ = writeln!(out, "    {name} = {name} | {condition};");
        self.raised.insert(name, format!("    if ({name}) {{\n        atomicMax(&{flags}[{word}], 1u);\n    }}\n"));
    }

    /// The place of a value that is read.
    fn loaded(&mut self, id: NodeId) -> Result<Place> {
        let (home, place) = (root(self.graph, id), self.place(id)?);
        if !self.loads.contains(&(home, place)) {
            self.loads.push((home, place));
        }
        Ok(place)
    }

    fn load_quads(&mut self, id: NodeId) -> Result<Source> {
        let place = self.loaded(id)?;
        Ok(self.quads(place, false))
    }

    /// A factor of a product, by octets or by quads.
    fn load_factor(&mut self, id: NodeId, octets: bool) -> Result<Source> {
        if !octets {
            return self.load_quads(id);
        }
        let (place, form) = (self.loaded(id)?, Form::Octet);
        Ok(Source { name: self.bind(place, Element::Quad(form), false), start: String::new(), form })
    }

    /// Declares what the group's anchor needs and chooses how its work is shared.
    fn anchor(&mut self, group: &Group, target: &Target) -> Result<(Schedule, [Source; 2])> {
        let none = <[Source; 2]>::default;
        let Some(anchor) = group.anchor else {
            let schedule = map(self.graph, group, target);
            let row = if group.space.blocks() == 1 && !group.space.batched { "0u" } else { "i / dims.quads" };
            let _ = writeln!(self.functions, "fn row_of(i: u32) -> u32 {{ return {row}; }}");
            if let Schedule::Map { run, .. } = schedule {
                self.dim("run", run);
            }
            return Ok((schedule, none()));
        };
        if let Op::MatMul { a, b, ta, tb } = self.graph.node(anchor).op {
            let tile = choose_tile(target, self.graph, group);
            let [left, right] = octets(self.graph, group, target);
            let factors = [self.load_factor(a, left)?, self.load_factor(b, right)?];
            let (left, right) = (self.graph.shape(a).clone(), self.graph.shape(b).clone());
            self.dim("a_quads", left.stride() / 4);
            self.dim("b_quads", right.stride() / 4);
            self.dim("b_rows", right.blocks());
            self.dim("far", far(&right, target));
            self.dim("down", down(&left, tile, ta || tb));
            let inner = if ta { left.blocks() } else { left.columns() };
            let rounds = inner * if ta && left.batched { target.rows } else { 1 };
            self.check_rounds(anchor, rounds, target)?;
            self.dim("inner", inner);
            self.extent("inner_extent", "inner", ta && left.batched);
            self.functions.push_str("fn a_extent() -> u32 { return space_rows(); }\n");
            self.functions.push_str("fn b_extent() -> u32 { return dims.b_rows; }\n");
            return Ok((Schedule::MatMul { tile, ta, tb }, factors));
        }
        let (op, over, input) = reduction(self.graph, anchor)
            .ok_or_else(|| Error::Internal(format!("{} is no anchor", self.graph.describe(anchor))))?;
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
        let from = self.graph.shape(input).clone();
        let by_columns = over == Over::Columns;
        let mut body = Body::new(&from, if by_columns { "dims.from_quads" } else { "dims.quads" });
        // Computed on the way in where nobody else reads it, found in memory otherwise.
        let value = self.operand(&mut body, input, &from)?;
        self.function("value", "", &body.lines, Some(&value));
        let lanes = lanes(self.graph, group, target);
        self.check_rounds(anchor, steps(&from, over, target).div_ceil(lanes as usize), target)?;
        if by_columns {
            self.dim("from_quads", from.stride() / 4);
            self.dim("from_columns", from.columns());
            return Ok((Schedule::ReduceColumns { lanes }, none()));
        }
        let (outer, inner) = match over {
            Over::Blocks => (from.blocks(), 1),
            Over::Inner => (from.inner(), 1),
            Over::Batch => (1, from.blocks()),
            _ => (0, 1),
        };
        let (count, batched) = reduced(&from, over);
        self.dim("outer", outer);
        self.dim("inner", inner);
        self.dim("reduced", count);
        self.extent("reduced_rows", "reduced", batched);
        Ok((Schedule::ReduceRows { lanes }, none()))
    }

    /// Refuses sums that software adapters would cut short.
    fn check_rounds(&self, anchor: NodeId, rounds: usize, target: &Target) -> Result<()> {
        if target.kind == AdapterKind::Hardware || rounds <= ROUNDS {
            return Ok(());
        }
        let what = format!("the sums of {}", self.graph.describe(anchor));
        let (needs, allowed) = (rounds as u64, ROUNDS as u64);
        Err(Error::Limit { what, needs, allowed, limit: "rounds of a loop on software adapters" })
    }

    /// The function that computes the group's elementwise nodes and stores what others need, and its lines.
    fn body(&mut self, group: &Group, schedule: Schedule, target: &Target) -> Result<(Vec<(NodeId, Place)>, usize)> {
        let mut body = Body::new(&group.space, "dims.quads");
        body.source = matches!(schedule, Schedule::Map { shuffled: true, .. });
        if let Some(anchor) = group.anchor {
            body.values.insert(anchor, "anchor".into());
        }
        let mut stored = Vec::new();
        let mut stores = String::new();
        for id in group.anchor.iter().chain(&group.body).copied() {
            let mut value = self.value(&mut body, id)?;
            if let (Some(Sink::Update(_)), false) = (self.places.sinks.get(&id), self.graph.stays_zero(id)) {
                self.declare_tensors();
                value = body.line(format!("select(T(), {value}, in_tensor(row * dims.quads + c))"));
                body.values.insert(id, value.clone());
            }
            if let Some(&place) = self.places.of.get(&id) {
                self.store(&mut body, &mut stores, id, place, &value, target);
                stored.push((id, place));
            }
        }
        body.lines.push_str(&stores);
        self.function("body", if group.anchor.is_some() { ", anchor: T" } else { "" }, &body.lines, None);
        Ok((stored, body.lines.lines().count()))
    }

    /// The function that tells which values of a quad of an arena are a tensor's, for updates whose padding is not zero of
    /// itself.
    fn declare_tensors(&mut self) {
        if self.functions.contains("fn in_tensor(") {
            return;
        }
        let mut lines = String::new();
        let layout = Layout::new(&self.graph.params);
        for (tensor, offset) in self.graph.params.iter().zip(&layout.offsets) {
            let (columns, quads, start) = (tensor.shape.columns(), tensor.shape.stride() / 4, offset / 16);
            let end = start + (tensor.shape.blocks() * quads) as u64;
            let _ = writeln!(lines, "    if (at >= {start}u && at < {end}u) {{");
            let _ = writeln!(lines, "        columns = {columns}u;\n        c = (at - {start}u) % {quads}u;\n    }}");
        }
        let kept = "vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns)";
        let _ = write!(
            self.functions,
            "fn in_tensor(at: u32) -> vec4<bool> {{\n    var columns = 0u;\n    var c = 0u;\n{lines}    return {kept};\n}}\n"
        );
    }

    fn function(&mut self, name: &str, extra: &str, lines: &str, result: Option<&str>) {
        let (arrow, end) = match result {
            Some(value) => (" -> T", format!("    return {value};\n")),
            None => ("", String::new()),
        };
        let _ = write!(self.functions, "fn {name}(row: u32, c: u32{extra}){arrow} {{\n{lines}{end}}}\n");
    }

    fn store(&mut self, body: &mut Body, out: &mut String, id: NodeId, place: Place, value: &str, target: &Target) {
        let columns = self.graph.shape(id).columns();
        match self.places.sinks.get(&id) {
            Some(Sink::Update(_)) => {
                let quads = self.quads(place, true);
                let (name, at) = (&quads.name, "row * dims.quads + c");
                let _ = writeln!(out, "    let bad_{name} = not_finite({value});");
                self.flag(out, Bad::Update, &format!("any(bad_{name})"));
                // Usually the old value is at hand: the new one was made from it.
                let old = body.line(quads.at(at));
                let _ = writeln!(out, "    if (state.halted == 0u) {{");
                let new = quads.store(at, &format!("select({value}, {old}, bad_{name})"));
                let _ = writeln!(out, "        {new}\n    }}");
            }
            Some(Sink::Output(_)) if columns.is_multiple_of(4) && !self.graph.shape(id).is_unpadded() => {
                let store = self.quads(place, true).store("row * (dims.columns / 4u) + c", value);
                let _ = writeln!(out, "    if (c < dims.columns / 4u) {{\n        {store}\n    }}");
            }
            Some(Sink::Output(_)) if !columns.is_multiple_of(4) => {
                let name = self.bind(place, Element::Single, true);
                let _ = writeln!(out, "    for (var l = 0u; l < 4u && c * 4u + l < dims.columns; l++) {{");
                let _ = writeln!(out, "        {name}[row * dims.columns + c * 4u + l] = {value}[l];\n    }}");
            }
            sink => {
                let quads = self.bind_part(place, target);
                let kept = "vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(dims.columns)";
                let kept = body.line(format!("select(T(), {value}, {kept})"));
                let _ = writeln!(out, "    {}", quads.store("row * dims.quads + c", &kept));
                if let Some(Sink::Gradient(_)) = sink {
                    // Told here, a gradient that went bad is known before anything is updated, without a dispatch.
                    self.flag(out, Bad::Gradient, &format!("any(not_finite({kept} * {kept}))"));
                }
            }
        }
    }

    /// The name of a node's value at (row, c), computed or read on first use.
    fn value(&mut self, body: &mut Body, id: NodeId) -> Result<String> {
        if let Some(name) = body.values.get(&id) {
            return Ok(name.clone());
        }
        let node = self.graph.node(id);
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
                let row = match (shuffled, body.source) {
                    (true, true) => "source",
                    (true, false) => "permute(state.first_row + row)",
                    (false, _) => "(state.first_row + row)",
                };
                let bytes = super::slots::packed_bytes(self.data_elements());
                self.packed(Place { role: Role::Data, offset: 0, bytes }, row, node.shape.columns())
            }
            Op::Input(i) if !is_leaf(self.graph, id) => {
                let bytes = self.input_bytes(*i);
                self.packed(Place { role: Role::Input(*i), offset: 0, bytes }, "row", node.shape.columns())
            }
            Op::View(input) if matches!(self.graph.node(*input).op, Op::Table(_)) => {
                self.operand(body, *input, &node.shape)?
            }
            Op::View(input) if super::fuse::alias(self.graph, id).is_none() => self.reshaped(*input, &node.shape)?,
            Op::Columns { input, offset } => self.moved(body, *input, *offset)?,
            _ => return self.operand(body, id, body.space),
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
    fn operand(&mut self, body: &mut Body, id: NodeId, space: &Shape) -> Result<String> {
        let home = root(self.graph, id);
        let computed_here = body.values.contains_key(&home) || !self.places.of.contains_key(&home);
        if computed_here && in_register(self.graph, id, space) {
            return self.value(body, home);
        }
        if let Op::Table(column) = self.graph.node(id).op {
            let place = self.loaded(id)?;
            let row = body.line(format!("{}[state.table_row]", self.bind(place, Element::Table, false)));
            let lane = ["x", "y", "z", "w"].get(column).copied().unwrap_or("x");
            return Ok(body.line(format!("T({row}.{lane})")));
        }
        let shape = self.graph.shape(id);
        let access = Access::new(shape, space)
            .ok_or_else(|| Error::shape(format!("reading {}", self.graph.describe(id)), shape, space))?;
        let quads = self.load_quads(id)?;
        let row = self.row(access);
        let text = match (access.splat, row.as_str()) {
            (true, row) => format!("T({}.x)", quads.at(row)),
            (false, "0u") => quads.at("c"),
            (false, row) => quads.at(&format!("{row} * {} + c", body.quads)),
        };
        Ok(body.line(text))
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

    /// The name of a dimension that has this value: an existing one with the same stem, or a new one.
    fn dim_for(&mut self, stem: &str, value: usize) -> String {
        if let Some((name, _)) = self.dims.iter().find(|(n, v)| n.starts_with(stem) && *v == value as u32) {
            return format!("dims.{name}");
        }
        let name = format!("{stem}{}", self.dims.len());
        self.dim(name.clone(), value);
        format!("dims.{name}")
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
        let from = self.graph.shape(input).clone();
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
        let quads = self.dim_for("moved_quads_", self.graph.shape(input).stride() / 4);
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

    fn remember(&mut self, body: &mut Body, id: NodeId, expr: &Expr, inputs: &[String]) -> Result<String> {
        let name = body.expr(expr, inputs)?;
        body.values.insert(id, name.clone());
        Ok(name)
    }
}

impl<'a> Body<'a> {
    fn new(space: &'a Shape, quads: &'static str) -> Body<'a> {
        Body { space, quads, lines: String::new(), values: BTreeMap::new(), known: HashMap::new(), source: false }
    }

    /// Adds `let name = text`, unless the same text is there already.
    fn line(&mut self, text: String) -> String {
        if let Some(name) = self.known.get(&text) {
            return name.clone();
        }
        let name = format!("v{}", self.known.len());
        let _ = writeln!(self.lines, "    let {name} = {text};");
        self.known.insert(text, name.clone());
        name
    }

    fn expr(&mut self, expr: &Expr, inputs: &[String]) -> Result<String> {
        let mut names: Vec<String> = Vec::new();
        for (part, of) in expr.ordered() {
            let name = |i: usize| names[of[i]].as_str();
            let text = match &*part.0 {
                Kind::Input(i) => Err(inputs[*i].clone()),
                Kind::Through { .. } => Err(name(0).to_string()),
                Kind::Output => return Err(Error::Internal("an output outside a derivative".into())),
                Kind::Excess => return Err(Error::Internal("an expression that is too deep".into())),
                Kind::Const(v) => Err(format!("T({})", literal(*v)?)),
                Kind::Rows => Ok("T(f32(state.rows))".into()),
                Kind::Unary(f, _) => Ok(call(*f, name(0))),
                Kind::Half(_) => Ok(format!("half_({})", name(0))),
                Kind::Binary(op, x, y) => {
                    let (a, b) = (name(0), name(1));
                    Ok(match op {
                        Binary::Add => format!("{a} + {b}"),
                        Binary::Sub => format!("{a} - {b}"),
                        Binary::Mul => format!("{a} * {b}"),
                        Binary::Div => format!("{a} / {b}"),
                        Binary::Max => or_nan(format!("max({a}, {b})"), [x, y], [a, b]),
                        Binary::Min => or_nan(format!("min({a}, {b})"), [x, y], [a, b]),
                    })
                }
                Kind::Select(compare, [x, y, ..]) => {
                    let sign = match compare {
                        Compare::Less => "<",
                        Compare::LessEqual => "<=",
                        Compare::Equal => "==",
                    };
                    let (a, b) = (name(0), name(1));
                    Ok(or_nan(format!("select({}, {}, {a} {sign} {b})", name(3), name(2)), [x, y], [a, b]))
                }
                Kind::Random(Distribution::Uniform, stream) => Ok(format!("random_uniform(row, c, {stream}u)")),
                Kind::Random(Distribution::Normal, stream) => Ok(format!("random_normal(row, c, {stream}u)")),
                Kind::Column => Ok("T(vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u))".into()),
            };
            // What has a name already, or is a number, needs no line.
            names.push(text.map_or_else(|name| name, |text| self.line(text)));
        }
        names.pop().ok_or_else(|| Error::Internal("an expression without parts".into()))
    }
}

/// A choice between two operands, or by comparing them, that is NaN where one of them is. `names` are theirs.
fn or_nan(choice: String, operands: [&Expr; 2], names: [&str; 2]) -> String {
    let unsure = |e: &Expr| !matches!(*e.0, Kind::Const(_) | Kind::Rows | Kind::Column | Kind::Random(..));
    let mut tests: Vec<String> =
        operands.into_iter().zip(names).filter(|(e, _)| unsure(e)).map(|(_, name)| format!("is_nan({name})")).collect();
    tests.dedup();
    if tests.is_empty() { choice } else { format!("or_nan({choice}, {})", tests.join(" | ")) }
}

fn call(f: Function, argument: &str) -> String {
    format!("{}({argument})", f.name())
}

/// A number as WGSL.
fn literal(value: f64) -> Result<String> {
    let narrow = value as f32;
    if !narrow.is_finite() {
        return Err(Error::Internal(format!("the constant {value} is not a finite f32")));
    }
    // The shortest text of the largest numbers lies beyond them: it stands for them only if it is rounded.
    match format!("{narrow:?}") {
        text if text.parse::<f64>().is_ok_and(|v| v.abs() > f32::MAX.into()) => Ok(format!("{:?}", f64::from(narrow))),
        text => Ok(text),
    }
}
