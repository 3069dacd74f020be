//! The plan: from a graph to a recording, the plain data that the GPU replays for every step.
//!
//! graph -> `values` (what is known of each node) -> `lower` (what is too much for a dispatch) -> `prepare` (a node of its
//! own for every sink) -> `fuse` and `absorb` (which nodes are computed together) -> `choose` (how threads share the work of
//! each group) -> `stage` (which groups run side by side in one dispatch) -> `slots` (where every value lies) -> `emit` (the
//! WGSL of each dispatch) -> [`Recording`]. Each pass reads what those before it made and hands it on.

mod absorb;
mod binds;
mod choose;
mod emit;
mod explain;
mod fuse;
mod lower;
mod prepare;
mod slots;
mod stage;
mod tuning;
mod values;

use std::iter::Sum;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Arena, Graph, NodeId, Op};
use crate::kernel::{self, Schedule};

pub(crate) use choose::sharing;
pub use tuning::{Product, Tuning};

use fuse::Group;
use values::Values;

/// What an adapter is like, as far as the choice of kernels goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// Runs shaders on the CPU: few fat dispatches, registers, no barriers.
    Software,
    /// A GPU: many threads, workgroup memory.
    Hardware,
}

/// The limits a plan must keep: those of WebGPU that strait can meet, and what else of the device plans go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one storage binding.
    pub binding_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Workgroups in one dimension of a dispatch.
    pub workgroups: u32,
    /// Storage buffers in one dispatch.
    pub storage_buffers: usize,
    /// Threads of a subgroup, where all have as many and kernels may pass values on within one; else 0.
    pub subgroup: u32,
    /// Whether kernels may use integers of 64 bits,
    pub int64: bool,
    /// and numbers of 16.
    pub f16: bool,
    /// Rows and columns of the cooperative matrices of 16 bits, summed in single precision, that kernels may use; else 0.
    pub cooperative: u32,
    /// Cores that most devices of its type have, each of which works on a workgroup at a time.
    pub busy: usize,
}

impl Limits {
    /// What every WebGPU implementation offers, one storage buffer kept as a margin.
    pub const DEFAULT: Limits = Limits {
        binding_bytes: 128 << 20,
        buffer_bytes: 256 << 20,
        workgroups: 65_535,
        storage_buffers: 7,
        subgroup: 0,
        int64: false,
        f16: false,
        cooperative: 0,
        busy: 32,
    };
}

/// What a plan is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The kind of adapter.
    pub kind: AdapterKind,
    /// Its limits.
    pub limits: Limits,
    /// The largest batch.
    pub rows: usize,
    /// Rows of the resident data set that fit its buffer; 0 where none is read.
    pub data_rows: usize,
    /// Uses this tile for every matrix product: for the suites that try them all.
    pub tile: Option<kernel::Tile>,
    /// Tiles by product that go before those of the table of defaults.
    pub tuning: Option<Arc<Tuning>>,
    /// Prefers kernels that compile sooner to those that run faster, where both give the same bits.
    pub quick: bool,
    /// Whether neighbouring nodes may share a dispatch and values may share memory.
    pub optimise: bool,
}

/// What a buffer is for. Buffers of one role are shared by all recordings of a session, but for slots, inputs,
/// outputs, dimensions and terms, which belong to one recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Trainable tensors, or something of the same layout.
    Arena(Arena),
    /// Frozen tensors.
    Constants,
    /// The resident data set, rows without padding.
    Data,
    /// Scalars by step.
    Table,
    /// Terms of the objective, 256 bytes apart.
    Terms,
    /// The i-th batch of the caller, rows without padding.
    Input(usize),
    /// The i-th result for the caller, rows without padding.
    Output(usize),
    /// Values that pass between dispatches.
    Slot(usize),
    /// The same in half precision.
    Half(usize),
    /// Word 0 is set where an update met a value that is not finite, word 1 where a gradient did.
    Flags,
}

impl Role {
    /// Whether it holds values that pass between dispatches.
    pub fn is_slot(self) -> bool {
        matches!(self, Role::Slot(_) | Role::Half(_))
    }

    /// Whether such buffers belong to one recording alone.
    fn is_own(self) -> bool {
        self.is_slot() || matches!(self, Role::Input(_) | Role::Output(_) | Role::Terms)
    }
}

/// A range of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The buffer.
    pub role: Role,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes.
    pub bytes: u64,
}

/// One dispatch: a kernel of one part or several, what it is bound to, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// A name for people.
    pub label: String,
    /// The kernel's text.
    pub wgsl: String,
    /// How threads share the work, for each of the parts that run side by side.
    pub schedules: Vec<Schedule>,
    /// Storage ranges, bound from binding 2 on (0 is the state, 1 the dimensions).
    pub bindings: Vec<Place>,
    /// The dimensions, in the order the kernel declares them.
    pub dims: Vec<u32>,
    /// Workgroups.
    pub workgroups: [u32; 3],
    /// The nodes it computes, in order.
    pub nodes: Vec<NodeId>,
    /// The matrix products among them, each with its tile.
    pub products: Vec<(Product, kernel::Tile)>,
    /// The values it leaves behind, and where.
    pub stores: Vec<(NodeId, Place)>,
    /// The values it finds, and where.
    pub loads: Vec<(NodeId, Place)>,
    /// Floating-point operations of its matrix product, and bytes it must move at least.
    pub cost: Cost,
}

/// What a dispatch costs at the largest batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of matrix products.
    pub flops: u64,
    /// Bytes read and written, each once.
    pub bytes: u64,
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |a, b| Cost { flops: a.flops + b.flops, bytes: a.bytes + b.bytes })
    }
}

/// A planned graph.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The graph it computes.
    pub graph: Graph,
    /// What it was planned for.
    pub target: Target,
    /// Dispatches in order.
    pub dispatches: Vec<Dispatch>,
    /// Every buffer it touches, with the bytes it needs there.
    pub buffers: Vec<(Role, u64)>,
}

impl Recording {
    /// Plans a graph.
    ///
    /// # Errors
    /// As [`Graph::check`] where the graph is not sound; [`Error::Spec`] where the target has no rows or no workgroups, where
    /// its tile is not one of [`kernel::Tile::ALL`] or its tuning names one that it cannot use, [`Error::Limit`] where a
    /// tensor or a dispatch does not fit it. Nothing is allocated.
    pub fn new(graph: &Graph, target: Target) -> Result<Recording> {
        graph.check()?;
        if target.rows == 0 {
            return Err(Error::spec("rows", 0, "1 or more"));
        }
        if let Some(tile) = target.tile.filter(|tile| !kernel::Tile::ALL.contains(tile)) {
            return Err(Error::spec("tile", format!("{tile:?}"), "one of Tile::ALL"));
        }
        if target.limits.workgroups == 0 {
            return Err(Error::spec("limits.workgroups", 0, "1 or more"));
        }
        if let Some(tuning) = &target.tuning {
            tuning.check(&target)?;
        }
        // One value a row is the least that has to lie somewhere; what comes below may count in u32 then.
        for (what, rows) in [("a value for each row of the batch", target.rows), ("resident rows", target.data_rows)] {
            let (needs, allowed) = ((rows as u64).saturating_mul(4), target.limits.binding_bytes);
            if needs > allowed {
                let limit = "max_storage_buffer_binding_size";
                return Err(Error::Limit { what: what.into(), needs, allowed, limit });
            }
        }
        for (id, node) in graph.nodes() {
            let gathered = matches!(node.op, Op::Gather { .. });
            if gathered && target.data_rows == 0 {
                return Err(Error::spec("data_rows", 0, "1 or more, since the graph reads the data set"));
            }
            // Kernels count elements in u32, also those of values that never lie in memory.
            let rows = if gathered { target.rows.max(target.data_rows) } else { target.rows };
            let (needs, allowed) = (node.shape.bytes(rows) / 4, u32::MAX.into());
            if needs > allowed {
                let what = format!("{} {} in elements", graph.describe(id), node.shape);
                return Err(Error::Limit { what, needs, allowed, limit: "u32" });
            }
        }
        let lowered = lower::lower(&Values::new(graph.clone()), &target);
        let grouped = |together: bool| -> Result<(Values, Vec<Group>)> {
            let mut values = Values::new(lowered.clone());
            prepare::prepare(&mut values, together);
            values.graph.check()?;
            let groups = absorb::absorb(&values, fuse::groups(&values, &target), &target);
            Ok((values, groups))
        };
        // Who reads what replaces an arena's value does so where it is computed, if there is room for all of them.
        let (values, groups) = match grouped(target.optimise)? {
            (values, groups) if fuse::keeps_updates(&values, &groups) => (values, groups),
            _ => grouped(false)?,
        };
        let stages = stage::stages(&values, choose::jobs(&values, groups, &target), &target);
        let places = slots::places(&values, &stages, &target)?;
        let mut dispatches = Vec::with_capacity(stages.len());
        for stage in &stages {
            dispatches.push(emit::dispatch(&values, stage, &places, &target)?);
        }
        let recording = Recording { graph: values.graph, target, dispatches, buffers: places.buffers };
        recording.check()?;
        Ok(recording)
    }

    /// What all its dispatches cost.
    pub fn cost(&self) -> Cost {
        self.dispatches.iter().map(|dispatch| dispatch.cost).sum()
    }

    /// The matrix products it takes, in order, each with its tile.
    pub fn products(&self) -> Vec<(Product, kernel::Tile)> {
        self.dispatches.iter().flat_map(|dispatch| dispatch.products.iter().copied()).collect()
    }

    /// Bytes of the buffers that belong to this recording alone.
    pub fn own_bytes(&self) -> u64 {
        self.buffers.iter().filter(|(role, _)| role.is_own()).map(|(_, bytes)| bytes).sum()
    }

    /// The largest value in a buffer, for people to know what does not fit.
    fn largest(&self, role: Role) -> String {
        let values = self.dispatches.iter().flat_map(|d| d.stores.iter().chain(&d.loads));
        let largest = values.filter(|(_, place)| place.role == role).max_by_key(|(_, place)| place.bytes);
        match largest {
            Some(&(id, _)) => {
                format!("{} {} in {}", self.graph.describe(id), self.graph.shape(id), self.buffer(role))
            }
            None => self.buffer(role),
        }
    }

    /// Checks limits and that nothing reads an arena after its update.
    fn check(&self) -> Result<()> {
        let limits = &self.target.limits;
        for &(role, needs) in &self.buffers {
            if needs > limits.buffer_bytes {
                let (what, allowed) = (self.largest(role), limits.buffer_bytes);
                return Err(Error::Limit { what, needs, allowed, limit: "max_buffer_size" });
            }
        }
        let mut updated: Vec<Role> = Vec::new();
        for dispatch in &self.dispatches {
            let over = |needs: u64, allowed: u64, limit| Error::Limit {
                what: format!("dispatch {}", dispatch.label),
                needs,
                allowed,
                limit,
            };
            for place in &dispatch.bindings {
                if place.bytes > limits.binding_bytes {
                    let what = format!("dispatch {}: {}", dispatch.label, self.largest(place.role));
                    let (allowed, limit) = (limits.binding_bytes, "max_storage_buffer_binding_size");
                    return Err(Error::Limit { what, needs: place.bytes, allowed, limit });
                }
            }
            // The table is bound as a uniform.
            let stored = dispatch.bindings.iter().filter(|place| place.role != Role::Table).count();
            if stored > limits.storage_buffers {
                let (needs, allowed) = (stored as u64, limits.storage_buffers as u64);
                return Err(over(needs, allowed, "max_storage_buffers_per_shader_stage"));
            }
            if let Some(&groups) = dispatch.workgroups.iter().find(|&&g| g > limits.workgroups) {
                return Err(over(groups.into(), limits.workgroups.into(), "max_compute_workgroups_per_dimension"));
            }
            if let Some((id, _)) = dispatch.loads.iter().find(|(_, p)| updated.contains(&p.role)) {
                return Err(Error::Internal(format!("{} is read after its update", self.graph.describe(*id))));
            }
            for (id, place) in &dispatch.stores {
                if let Some((read, _)) = dispatch.loads.iter().find(|(_, l)| l.role == place.role && l != place) {
                    let (written, read) = (self.graph.describe(*id), self.graph.describe(*read));
                    let role = place.role;
                    return Err(Error::Internal(format!("{written} is written to {role:?} where {read} is read")));
                }
                if matches!(place.role, Role::Arena(_)) {
                    updated.push(place.role);
                }
            }
        }
        Ok(())
    }
}
