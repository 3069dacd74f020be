//! Explaining a plan to people: nodes, kernels, slots, bytes.

use std::fmt;

use super::{Place, Recording, Role};
use crate::graph::{Arena, Kept, NodeId, Op, Sink};

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = self.cost();
        let (flops, bytes) = (quantity(cost.flops, "flop"), quantity(cost.bytes, "B"));
        let (rows, kind) = (self.target.rows, format!("{:?}", self.target.kind).to_lowercase());
        let count = self.dispatches.len();
        writeln!(
            f,
            "dispatches: {count}, for up to {rows} rows, on {kind}; {flops} in matrix products, {bytes} moved"
        )?;
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            let [x, y, z] = dispatch.workgroups;
            let flops = Some(dispatch.cost.flops).filter(|&f| f > 0).map(|f| quantity(f, "flop")).unwrap_or_default();
            let bytes = quantity(dispatch.cost.bytes, "B");
            let groups = u64::from(x) * u64::from(y) * u64::from(z);
            writeln!(f, "\n{i:3}  {:<44} {groups:>6} workgroups {flops:>12} {bytes:>10}", dispatch.label)?;
            let nodes: Vec<String> =
                dispatch.nodes.iter().map(|id| format!("{} {}", id.0, self.graph.node(*id).op.name())).collect();
            writeln!(f, "       nodes   {}", nodes.join(", "))?;
            for (what, places) in [("reads ", &dispatch.loads), ("writes", &dispatch.stores)] {
                let each =
                    |(id, place): &(NodeId, Place)| format!("{} {}", self.name(*id, place), self.graph.shape(*id));
                let places: Vec<String> = places.iter().map(each).collect();
                if !places.is_empty() {
                    writeln!(f, "       {what}  {}", places.join(", "))?;
                }
            }
        }
        writeln!(f, "\nbuffers of its own, {}; the rest is shared", quantity(self.own_bytes(), "B"))?;
        for (role, bytes) in &self.buffers {
            let shared = if role.is_own() { "" } else { "  shared" };
            writeln!(f, "  {:<16} {:>10}{shared}", self.buffer(*role), quantity(*bytes, "B"))?;
        }
        Ok(())
    }
}

impl Recording {
    /// What lies in the place of a node.
    fn name(&self, id: NodeId, place: &Place) -> String {
        let sink = self.graph.sinks().iter().find(|(_, node)| *node == id).map(|(sink, _)| *sink);
        match (&self.graph.node(id).op, sink) {
            (Op::Param(i), _) => self.graph.params[*i].name.clone(),
            (Op::Constant(i), _) => self.graph.constants[*i].name.clone(),
            (_, Some(Sink::Gradient(i))) => format!("gradient of {}", self.graph.params[i].name),
            (_, Some(Sink::Term(i))) => format!("term {}", self.graph.terms[i]),
            _ => self.buffer(place.role),
        }
    }

    /// What a buffer holds.
    pub(super) fn buffer(&self, role: Role) -> String {
        match role {
            Role::Arena(Arena { set, kept }) => {
                let name = self.graph.set_name(set);
                match kept {
                    Kept::Values => name.into(),
                    Kept::Gradients if self.graph.sets().count() == 1 => "gradients".into(),
                    kept => format!("{kept} of {name}"),
                }
            }
            Role::Slot(i) => format!("slot {i}"),
            Role::Half(i) => format!("half slot {i}"),
            Role::Input(i) => format!("input {i}"),
            Role::Output(i) => format!("output {i}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

/// A number with three digits or so.
fn quantity(value: u64, unit: &str) -> String {
    match value {
        0..1_000 => format!("{value} {unit}"),
        1_000..1_000_000 => format!("{:.1} k{unit}", value as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M{unit}", value as f64 / 1e6),
        _ => format!("{:.1} G{unit}", value as f64 / 1e9),
    }
}
