//! Emission: the WGSL of one dispatch, with its bindings, dimensions and grid.

mod anchor;
mod bind;
mod body;
mod read;
mod text;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bind::Emitter;

use super::binds::Binding;
use super::choose::{Job, wide};
use super::slots::Places;
use super::values::Values;
use super::{AdapterKind, Cost, Dispatch, Place, Target};
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::kernel::{self, Form, Part, Schedule};

/// Results of a sum, or runs of quads, in a workgroup of software adapters, which share workgroups out to their threads:
/// there are seldom many.
const RESULTS: u32 = 8;

/// Lines of what follows a product that is written out for every sum: a gradient's, stored and looked at.
const SHORT: usize = 3;

/// Builds the dispatch of groups that run side by side.
///
/// # Errors
/// [`Error::Limit`] where a sum is too long for the target; [`Error::Internal`] where more is bound than the groups said.
pub(super) fn dispatch(values: &Values, stage: &[Job], places: &Places, target: &Target) -> Result<Dispatch> {
    let form = if wide(target) { Form::Wide } else { Form::Single };
    let mut e = Emitter::new(values, places, form);
    let (mut parts, mut dims, mut extents, mut stores) = (vec![], vec![], vec![], vec![]);
    for job in stage {
        let factors = e.anchor(job, target)?;
        let (stored, lines) = e.body(job, target)?;
        // Writing out takes longer to compile and saves a way through memory.
        let short = lines <= SHORT && !target.quick;
        stores.extend(stored);
        let space = &job.group.space;
        let quads = space.stride() / 4;
        e.dim("quads", quads);
        e.dim("columns", space.columns());
        e.dim("blocks", space.blocks());
        e.extent("space_rows", "blocks", space.batched);
        let (names, each): (Vec<String>, Vec<u32>) = e.dims.drain(..).unzip();
        dims.extend(each);
        extents.push((space.matrix_rows(target.rows), quads));
        let (schedule, functions) = (job.schedule, std::mem::take(&mut e.functions));
        parts.push(Part { schedule, functions, factors, dims: names, short });
    }
    let workgroup = workgroup(stage, target);
    let each = stage.iter().zip(&extents);
    let counts: Vec<usize> = each.map(|(job, &(rows, quads))| job.schedule.groups(rows, quads, workgroup)).collect();
    dims.extend(counts[..counts.len() - 1].iter().map(|&count| count as u32));
    let total: usize = counts.iter().sum();
    let across = total.min(target.limits.workgroups as usize);
    if parts.len() > 1 {
        // Their product must fit 32 bits.
        let spread = target.kind == AdapterKind::Software && total == across && total < 1 << 16;
        dims.extend(if spread { [stride(across as u32), across as u32] } else { [1, u32::MAX] });
    }
    dims.push(across as u32);

    let said: BTreeSet<Binding> = stage.iter().flat_map(|job| &job.bound).copied().collect();
    let label = label(values, stage);
    let found = e.stored().count();
    if found > said.len() {
        return Err(Error::Internal(format!("dispatch {label} binds {found} buffers where {said:?} were planned")));
    }
    // What is read in two ways is still moved once; of a whole arena only what is written.
    let written: u64 = stores.iter().map(|(_, place): &(NodeId, Place)| place.bytes).sum();
    let mut read: Vec<Place> = e.bound.iter().filter(|b| !b.written).map(|b| b.place).collect();
    read.extend(e.loads.iter().map(|(_, place)| *place));
    read.sort();
    read.dedup();
    let products = stage.iter().filter_map(|job| match job.schedule {
        Schedule::MatMul { tile, .. } => job.product.map(|product| (product, tile)),
        Schedule::Map { .. } | Schedule::ReduceColumns { .. } | Schedule::ReduceRows { .. } => None,
    });
    let products: Vec<_> = products.collect();
    let flops = products.iter().map(|(product, _)| product.flops()).sum();
    let bindings = e.declarations();
    Ok(Dispatch {
        label,
        wgsl: kernel::source(&bindings, &parts, &e.raised.into_values().collect::<String>(), workgroup, &e.needs)?,
        schedules: stage.iter().map(|job| job.schedule).collect(),
        bindings: e.bound.iter().map(|b| b.place).collect(),
        dims,
        workgroups: [across as u32, total.div_ceil(across) as u32, 1],
        cost: Cost { flops, bytes: written + read.iter().map(|p| p.bytes).sum::<u64>() },
        nodes: stage.iter().flat_map(|job| job.group.nodes()).collect(),
        products,
        stores,
        loads: e.loads,
    })
}

/// Threads in a workgroup: what a part cannot do without, or else what suits all.
fn workgroup(stage: &[Job], target: &Target) -> u32 {
    let fixed = stage.iter().map(|job| job.schedule).find(|schedule| !schedule.any_workgroup());
    let free = stage.iter().map(|job| match job.schedule {
        schedule if target.kind == AdapterKind::Hardware => schedule.workgroup(),
        Schedule::ReduceColumns { .. } | Schedule::ReduceRows { .. } | Schedule::Map { .. } => RESULTS,
        schedule @ Schedule::MatMul { .. } => schedule.workgroup(),
    });
    let free = if target.kind == AdapterKind::Software { free.min() } else { free.max() };
    fixed.map(Schedule::workgroup).or(free).unwrap_or(1)
}

/// A name for people: that of each part's last node that has one, and how its work is shared.
fn label(values: &Values, stage: &[Job]) -> String {
    let named = |job: &Job| {
        let nodes: Vec<NodeId> = job.group.nodes().collect();
        let name = nodes.iter().rev().map(|&id| values.graph.node(id).name.as_str()).find(|n| !n.is_empty());
        name.unwrap_or("-").to_string()
    };
    let mut label = String::new();
    for (i, job) in stage.iter().enumerate() {
        let name = named(job);
        // Neighbours mostly have one name.
        let name = if i > 0 && name == named(&stage[i - 1]) { String::new() } else { name + " " };
        let joint = if i > 0 { " + " } else { "" };
        let _ = write!(label, "{joint}{name}({})", job.schedule.name());
    }
    label
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
