//! Stages: groups that do not depend on one another run side by side, as parts of one dispatch. A dispatch has a price
//! whatever its size, and a barrier between each and the next; a backward pass is full of pairs that need neither.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::binds::Binding;
use super::choose::Job;
use super::values::Values;
use super::{AdapterKind, Target};
use crate::graph::{Op, Sink};
use crate::kernel::{SUBGROUP, Schedule};

/// Puts the groups into stages, in an order they can run in. Those that most others wait for go first; the rest fills
/// the room they leave.
pub(super) fn stages(values: &Values, jobs: Vec<Job>, target: &Target) -> Vec<Vec<Job>> {
    // Kernels that compile soon are those that many dispatches share. What reads or replaces whole arenas keeps its
    // order.
    let arenas = values.graph.nodes().any(|(_, node)| matches!(node.op, Op::Arena(_)));
    let updates = values.graph.sinks().iter().any(|(sink, _)| matches!(sink, Sink::Update(_)));
    if !target.optimise || arenas || updates || (target.quick && target.kind == AdapterKind::Software) {
        return jobs.into_iter().map(|job| vec![job]).collect();
    }
    let rules = Rules::new(values, &jobs, target);
    // Which of two groups goes first that as many others wait for hardly matters, but to how many dispatches there are.
    let orders = [rules.order(|_| false), rules.order(|at| jobs[at].product.is_none())];
    let order = orders.into_iter().min_by_key(Vec::len).unwrap_or_default();
    let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
    order.into_iter().map(|stage| stage.into_iter().filter_map(|at| jobs[at].take()).collect()).collect()
}

/// What must come before what, and what may go together.
struct Rules<'a> {
    jobs: &'a [Job],
    target: &'a Target,
    /// The groups that wait for each one, and for how many it waits itself.
    followers: Vec<Vec<usize>>,
    waits: Vec<usize>,
    /// How many stages must follow each group.
    height: Vec<usize>,
    weights: Vec<Weight>,
    /// The size of a group's workgroups, where it cannot be chosen.
    workgroup: Vec<Option<u32>>,
}

impl<'a> Rules<'a> {
    fn new(values: &Values, jobs: &'a [Job], target: &'a Target) -> Rules<'a> {
        let mut home: Vec<Option<usize>> = vec![None; values.len()];
        for (at, job) in jobs.iter().enumerate() {
            job.group.nodes().for_each(|id| home[id.0] = Some(at));
        }
        let mut followers: Vec<Vec<usize>> = vec![vec![]; jobs.len()];
        let (mut waits, mut height) = (vec![0; jobs.len()], vec![0; jobs.len()]);
        for (at, job) in jobs.iter().enumerate().rev() {
            let inputs = job.group.nodes().flat_map(|id| &values[id].inputs);
            let before = inputs.filter_map(|&input| home[values.home(input).0]).filter(|&h| h != at);
            let before: BTreeSet<usize> = before.collect();
            waits[at] = before.len();
            for before in before {
                height[before] = height[before].max(height[at] + 1);
                followers[before].push(at);
            }
        }
        let weights = jobs.iter().map(|job| weight(job, target)).collect();
        let fixed = |job: &Job| Some(job.schedule).filter(|s| !s.any_workgroup()).map(Schedule::workgroup);
        let workgroup = jobs.iter().map(fixed).collect();
        Rules { jobs, target, followers, waits, height, weights, workgroup }
    }

    /// The groups of each stage: first those that most others wait for, of equals those that are not `last`.
    fn order(&self, last: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let Rules { jobs, target, followers, weights, workgroup, .. } = self;
        let turn = |at: usize| (Reverse(self.height[at]), last(at), at);
        let mut waits = self.waits.clone();
        let mut ready: BTreeSet<_> = (0..jobs.len()).filter(|&at| waits[at] == 0).map(turn).collect();
        let mut order: Vec<Vec<usize>> = Vec::new();
        while !ready.is_empty() {
            let mut stage: Vec<usize> = Vec::new();
            let mut union: BTreeSet<Binding> = BTreeSet::new();
            let mut size = None;
            for &(.., at) in &ready {
                let sizes = size.is_none() || workgroup[at].is_none() || size == workgroup[at];
                let together = stage.iter().all(|&other| weights[at].may_join(weights[other]));
                let room = target.limits.storage_buffers.saturating_sub(union.len());
                let further =
                    || jobs[at].bound.iter().filter(|binding| !union.contains(binding)).take(room + 1).count();
                if stage.is_empty() || (sizes && together && further() <= room) {
                    stage.push(at);
                    size = size.or(workgroup[at]);
                    union.extend(&jobs[at].bound);
                }
            }
            for &at in &stage {
                ready.remove(&turn(at));
                for &next in &followers[at] {
                    waits[next] -= 1;
                    if waits[next] == 0 {
                        ready.insert(turn(next));
                    }
                }
            }
            // A GPU hands out workgroups in order: those that take longest go first, and the others fill what is left.
            let inner = |at: usize| jobs[at].product.map_or(0, |product| product.inner);
            match target.kind {
                AdapterKind::Hardware => stage.sort_unstable_by_key(|&at| (Reverse(inner(at)), at)),
                AdapterKind::Software => stage.sort_unstable(),
            }
            order.push(stage);
        }
        order
    }
}

/// What a group means for others beside it on software adapters. llvmpipe runs every part of a kernel in every workgroup,
/// under a mask that is empty for all but one: a product's registers are then cleared and stored for nothing, and its loop
/// is gone through once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Anything goes with it.
    Free,
    /// A product.
    Product,
    /// A product so large that a dispatch of its own costs less than another product beside it.
    Large,
    /// So many workgroups that they do not go with a product.
    Many,
}

impl Weight {
    fn may_join(self, other: Weight) -> bool {
        use Weight::Free;
        // Products that are not large go together, and so do maps and sums.
        self == Free || other == Free || (self == other && self != Weight::Large)
    }
}

/// The most workgroups, of the size that products have, that go with a product on software adapters.
const FEW: usize = 64;

/// Operations from which a product is large: beside another one, 8 to 10 % of its time is more than the 25 microseconds of a
/// dispatch (784-1000-500-250-30, batch 128, llvmpipe of Mesa 22.3.6).
const LARGE: u64 = 30_000_000;

fn weight(job: &Job, target: &Target) -> Weight {
    if target.kind == AdapterKind::Hardware {
        return Weight::Free;
    }
    if let Some(product) = job.product {
        return if product.flops() < LARGE { Weight::Product } else { Weight::Large };
    }
    let (rows, quads) = (job.group.space.matrix_rows(target.rows), job.group.space.stride() / 4);
    let groups = match job.schedule {
        Schedule::Map { .. } => job.schedule.groups(rows, quads, SUBGROUP as u32),
        _ => (rows * quads).div_ceil(SUBGROUP),
    };
    if groups > FEW { Weight::Many } else { Weight::Free }
}
