//! A group's elementwise nodes as one WGSL function: what it computes on the way, and what it leaves behind.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::bind::{Bad, Element, Emitter};
use crate::error::Result;
use crate::graph::{NodeId, Op, Set, Shape, Sink};
use crate::kernel::Schedule;
use crate::plan::choose::Job;
use crate::plan::{Place, Target};

/// One WGSL function in the making: values at (`row`, `c`) of a space.
pub(super) struct Body<'a> {
    pub space: &'a Shape,
    /// The dimension that holds the space's quads.
    pub quads: &'static str,
    pub lines: String,
    pub values: BTreeMap<NodeId, String>,
    pub known: HashMap<String, String>,
    /// Whether the row of the data is at hand.
    pub source: bool,
}

impl<'a> Body<'a> {
    pub fn new(space: &'a Shape, quads: &'static str) -> Body<'a> {
        Body { space, quads, lines: String::new(), values: BTreeMap::new(), known: HashMap::new(), source: false }
    }

    /// Adds `let name = text`, unless the same text is there already.
    pub fn line(&mut self, text: String) -> String {
        if let Some(name) = self.known.get(&text) {
            return name.clone();
        }
        let name = format!("v{}", self.known.len());
        let _ = writeln!(self.lines, "    let {name} = {text};");
        self.known.insert(text, name.clone());
        name
    }
}

impl Emitter<'_> {
    /// The function that computes the group's elementwise nodes and stores what others need, and its lines.
    pub fn body(&mut self, job: &Job, target: &Target) -> Result<(Vec<(NodeId, Place)>, usize)> {
        let group = &job.group;
        let mut body = Body::new(&group.space, "dims.quads");
        body.source = matches!(job.schedule, Schedule::Map { shuffled: true, .. });
        if let Some(anchor) = group.anchor {
            body.values.insert(anchor, "anchor".into());
        }
        let mut stored = Vec::new();
        let mut stores = String::new();
        for id in group.anchor.iter().chain(&group.body).copied() {
            if let Op::Own { kernel, inputs } = self.values.op(id) {
                let shapes: Vec<&Shape> = inputs.iter().map(|&input| self.values.shape(input)).collect();
                // A thread computes a quad.
                self.check_rounds(id, kernel.0.rounds(&shapes).saturating_mul(4), target)?;
            }
            let mut value = self.value(&mut body, id)?;
            if let Some(Sink::Update(arena)) = self.values[id].sink
                && !self.values.graph.stays_zero(id, arena.set)
            {
                let inside = self.declare_tensors(arena.set);
                value = body.line(format!("select(T(), {value}, {inside}(row * dims.quads + c))"));
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

    /// The name of the function that tells which values of a quad of a set's buffer are a tensor's, for updates whose
    /// padding is not zero of itself.
    fn declare_tensors(&mut self, set: Set) -> String {
        let name = format!("in_set_{}", set.0);
        if self.functions.contains(&format!("fn {name}(")) {
            return name;
        }
        let mut lines = String::new();
        let (tensors, layout) = (self.values.graph.tensors(set), self.values.graph.layout(set));
        for (tensor, offset) in tensors.iter().zip(&layout.offsets) {
            let (columns, quads, start) = (tensor.shape.columns(), tensor.shape.stride() / 4, offset / 16);
            let end = start + (tensor.shape.blocks() * quads) as u64;
            let _ = writeln!(lines, "    if (at >= {start}u && at < {end}u) {{");
            let _ = writeln!(lines, "        columns = {columns}u;\n        c = (at - {start}u) % {quads}u;\n    }}");
        }
        let kept = "vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns)";
        let _ = write!(
            self.functions,
            "fn {name}(at: u32) -> vec4<bool> {{\n    var columns = 0u;\n    var c = 0u;\n{lines}    return {kept};\n}}\n"
        );
        name
    }

    fn store(&mut self, body: &mut Body, out: &mut String, id: NodeId, place: Place, value: &str, target: &Target) {
        let columns = self.values.shape(id).columns();
        match self.values[id].sink {
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
            Some(Sink::Output(_)) if columns.is_multiple_of(4) && !self.values.shape(id).is_unpadded() => {
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
}
