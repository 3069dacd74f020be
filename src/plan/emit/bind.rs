//! What a dispatch binds and the dimensions it is given, by the names that they have in its kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::kernel::{Form, Need, Source};
use crate::plan::slots::Places;
use crate::plan::values::Values;
use crate::plan::{Place, Role, Target};

/// How a storage range is declared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// Four neighbouring columns, or eight.
    Quad(Form),
    /// One value: for rows without padding.
    Single,
    /// Flags.
    Atomic,
    /// The table of scalars, a row for each step: uniform, so that no thread reads a row of its own.
    Table,
}

/// A range that is bound.
pub(super) struct Bound {
    pub place: Place,
    pub element: Element,
    pub name: String,
    pub written: bool,
}

/// A dispatch in the making.
pub(super) struct Emitter<'a> {
    pub values: &'a Values,
    pub places: &'a Places,
    pub bound: Vec<Bound>,
    pub dims: Vec<(String, u32)>,
    pub functions: String,
    /// What they call for.
    pub needs: BTreeSet<Need>,
    pub loads: Vec<(NodeId, Place)>,
    /// How quads lie in memory but for those in half precision.
    pub form: Form,
    /// What a thread does at its end for every flag that it may have to raise.
    pub raised: BTreeMap<&'static str, String>,
}

/// What went bad: a word of [`Role::Flags`].
pub(super) enum Bad {
    Update,
    Gradient,
}

impl<'a> Emitter<'a> {
    pub fn new(values: &'a Values, places: &'a Places, form: Form) -> Emitter<'a> {
        let (bound, dims, functions, needs, loads, raised) = Default::default();
        Emitter { values, places, bound, dims, functions, needs, loads, form, raised }
    }

    /// The ranges that count as storage buffers.
    pub fn stored(&self) -> impl Iterator<Item = &Bound> {
        self.bound.iter().filter(|bound| bound.element != Element::Table)
    }

    /// The declarations of all that is bound, and of what threads remember until their end.
    pub fn declarations(&self) -> String {
        let mut text: String = self.raised.keys().map(|name| format!("var<private> {name}: bool;\n")).collect();
        text.push_str("@group(0) @binding(0) var<uniform> state: State;\n");
        text.push_str("@group(0) @binding(1) var<uniform> dims: Dims;\n");
        for (i, b) in self.bound.iter().enumerate() {
            let access = if b.written { "storage, read_write" } else { "storage, read" };
            let (space, kind) = match b.element {
                Element::Quad(form) => (access, format!("array<{}>", form.quad())),
                Element::Single => (access, "array<f32>".into()),
                Element::Atomic => (access, "array<atomic<u32>>".into()),
                Element::Table => ("uniform", format!("array<vec4<f32>, {}>", b.place.bytes / 16)),
            };
            let _ = writeln!(text, "@group(0) @binding({}) var<{space}> {}: {kind};", i + 2, b.name);
        }
        text
    }

    pub fn dim(&mut self, name: impl Into<String>, value: usize) {
        self.dims.push((name.into(), value as u32));
    }

    /// A function that gives an extent which may grow with the batch.
    pub fn extent(&mut self, function: &str, dim: &str, batched: bool) {
        let rows = if batched { "state.rows * " } else { "" };
        let _ = writeln!(self.functions, "fn {function}() -> u32 {{ return {rows}dims.{dim}; }}");
    }

    /// The name of a dimension that has this value: an existing one with the same stem, or a new one.
    pub fn dim_for(&mut self, stem: &str, value: usize) -> String {
        if let Some((name, _)) = self.dims.iter().find(|(n, v)| n.starts_with(stem) && *v == value as u32) {
            return format!("dims.{name}");
        }
        let name = format!("{stem}{}", self.dims.len());
        self.dim(name.clone(), value);
        format!("dims.{name}")
    }

    fn place(&self, id: NodeId) -> Result<Place> {
        let missing = || Error::Internal(format!("{} has no place", self.values.graph.describe(id)));
        self.places.of.get(&self.values.home(id)).copied().ok_or_else(missing)
    }

    /// Binds a place and returns its name in the kernel.
    pub fn bind(&mut self, place: Place, element: Element, write: bool) -> String {
        if let Some(b) = self.bound.iter_mut().find(|b| b.place == place && b.element == element) {
            b.written |= write;
            return b.name.clone();
        }
        match element {
            Element::Quad(Form::Half) => drop(self.needs.insert(Need::Half)),
            Element::Quad(Form::Wide | Form::Octet) => drop(self.needs.insert(Need::Wide)),
            Element::Quad(Form::Single) | Element::Single | Element::Atomic | Element::Table => {}
        }
        let name = format!("in{}", self.bound.len());
        self.bound.push(Bound { place, element, name: name.clone(), written: write });
        name
    }

    /// Binds a place of quads.
    pub fn quads(&mut self, place: Place, write: bool) -> Source {
        let form = if matches!(place.role, Role::Half(_)) { Form::Half } else { self.form };
        Source { name: self.bind(place, Element::Quad(form), write), start: String::new(), form }
    }

    /// Binds a place that is written. Tensors of an arena and terms are written through one binding of all of them, where
    /// that is allowed, so that dispatches of several need no more.
    pub fn bind_part(&mut self, place: Place, target: &Target) -> Source {
        let bytes = self.places.buffers.iter().find(|(role, _)| *role == place.role).map_or(0, |(_, bytes)| *bytes);
        if !matches!(place.role, Role::Arena(_) | Role::Terms) || bytes > target.limits.binding_bytes {
            return self.quads(place, true);
        }
        let whole = Place { offset: 0, bytes, ..place };
        let start = self.dim_for("start_", (place.offset / 16) as usize);
        Source { start: format!("{start} + "), ..self.quads(whole, true) }
    }

    /// Remembers that something went bad, where `condition` holds, until the thread is at its end.
    pub fn flag(&mut self, out: &mut String, what: Bad, condition: &str) {
        let flags = self.bind(Place { role: Role::Flags, offset: 0, bytes: 16 }, Element::Atomic, true);
        let (name, word) = match what {
            Bad::Update => ("bad_update", 0),
            Bad::Gradient => ("bad_gradient", 1),
        };
        let _ = writeln!(out, "    {name} = {name} | {condition};");
        self.raised.insert(name, format!("    if ({name}) {{\n        atomicMax(&{flags}[{word}], 1u);\n    }}\n"));
    }

    /// The place of a value that is read.
    pub fn loaded(&mut self, id: NodeId) -> Result<Place> {
        let (home, place) = (self.values.home(id), self.place(id)?);
        if !self.loads.contains(&(home, place)) {
            self.loads.push((home, place));
        }
        Ok(place)
    }

    pub fn load_quads(&mut self, id: NodeId) -> Result<Source> {
        let place = self.loaded(id)?;
        Ok(self.quads(place, false))
    }

    /// A factor of a product, by octets or by quads.
    pub fn load_factor(&mut self, id: NodeId, octets: bool) -> Result<Source> {
        if !octets {
            return self.load_quads(id);
        }
        let (place, form) = (self.loaded(id)?, Form::Octet);
        Ok(Source { name: self.bind(place, Element::Quad(form), false), start: String::new(), form })
    }

    /// Declares a function of (`row`, `c`).
    pub fn function(&mut self, name: &str, extra: &str, lines: &str, result: Option<&str>) {
        let (arrow, end) = match result {
            Some(value) => (" -> T", format!("    return {value};\n")),
            None => ("", String::new()),
        };
        let _ = write!(self.functions, "fn {name}(row: u32, c: u32{extra}){arrow} {{\n{lines}{end}}}\n");
    }
}
