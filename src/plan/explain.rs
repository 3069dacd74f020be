//! Explaining a plan to people: nodes, kernels, slots, bytes.

use std::fmt;

use super::{Recording, Role};

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.target.rows;
        writeln!(f, "{} dispatches for batches of up to {rows} rows", self.dispatches.len())?;
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            let [x, y, _] = dispatch.workgroups;
            writeln!(
                f,
                "{i:4}  {:<48} {:>7} workgroups  {:>12} flop  {:>10} B",
                dispatch.label,
                x * y,
                dispatch.cost.flops,
                dispatch.cost.bytes
            )?;
            let nodes: Vec<String> = dispatch.nodes.iter().map(|n| n.0.to_string()).collect();
            writeln!(f, "      nodes {}", nodes.join(" "))?;
            for (id, place) in &dispatch.loads {
                writeln!(
                    f,
                    "      reads  node {:<4} {:<12} {:?}",
                    id.0,
                    self.graph.shape(*id).to_string(),
                    place.role
                )?;
            }
            for (id, place) in &dispatch.stores {
                writeln!(
                    f,
                    "      writes node {:<4} {:<12} {:?}",
                    id.0,
                    self.graph.shape(*id).to_string(),
                    place.role
                )?;
            }
        }
        writeln!(f, "buffers")?;
        for (role, bytes) in &self.buffers {
            let own = matches!(role, Role::Slot(_) | Role::Input(_) | Role::Output(_) | Role::Terms);
            writeln!(f, "  {:<22} {bytes:>12} B{}", format!("{role:?}"), if own { "" } else { "  shared" })?;
        }
        writeln!(f, "own buffers together {} B", self.own_bytes())
    }
}
