//! The choice of kernels: which tile a product takes, how a map is shared out, how many threads add up a sum. It is a
//! function of the kind of adapter, its limits, shapes and tuning alone: nothing is timed. It is made once for each group
//! and handed on.

use std::collections::BTreeSet;

use super::binds::{Binding, Binds};
use super::fuse::Group;
use super::tuning::Product;
use super::values::Values;
use super::{AdapterKind, Limits, Target};
use crate::graph::{NodeId, Op, Over, Shape};
use crate::kernel::{AHEAD, Schedule, Tile};

/// A group with how its work is done.
pub(super) struct Job {
    pub group: Group,
    /// How threads share it.
    pub schedule: Schedule,
    /// Its matrix product at the largest batch, if it has one,
    pub product: Option<Product>,
    /// and whether that reads its left factor and its right one by octets.
    pub octets: [bool; 2],
    /// What it binds.
    pub bound: BTreeSet<Binding>,
}

/// Chooses for each group.
pub(super) fn jobs(values: &Values, groups: Vec<Group>, target: &Target) -> Vec<Job> {
    let binds = Binds::new(values, target);
    let job = |group: Group| {
        let product = group.anchor.and_then(|id| Product::of(values, id, target.rows));
        let (schedule, octets) = match (group.anchor.map(|id| values.op(id)), product) {
            (Some(&Op::MatMul { a, b, ta, tb, parts }), Some(product)) => {
                let tile = tile(target, &product, parts);
                (Schedule::MatMul { tile, ta, tb, parts }, octets(values, &group, [a, b], tile.octets(ta, tb), target))
            }
            (Some(&Op::Reduce { over, input, .. }), _) => {
                (reduction(values.shape(input), over, &group.space, target), [false; 2])
            }
            // No anchor: `values::way` names none but these two.
            _ => (map(values, &group, target), [false; 2]),
        };
        let bound = binds.of(&group.nodes().collect(), group.anchor, octets);
        Job { group, schedule, product, octets, bound }
    };
    groups.into_iter().map(job).collect()
}

/// The tile that the target says a product takes, if it does.
fn given(target: &Target, product: &Product) -> Option<Tile> {
    let tuned = || target.tuning.as_ref()?.tiles.get(product).copied();
    target.tile.or_else(tuned).filter(|tile| tile.suits(product.half))
}

/// The tile for a product whose sum is left in so many parts: a function of the target and of shapes alone, nothing is
/// timed. On software adapters all tiles add up in the same order, so they give the same bits.
fn tile(target: &Target, product: &Product, parts: usize) -> Tile {
    if let Some(tile) = given(target, product) {
        return tile;
    }
    let &Product { rows, ta, tb, .. } = product;
    let quads = product.quads();
    // Larger tiles run faster and compile longer: operations from which they pay.
    let large = if target.quick { 1_000_000_000 } else { 1_000_000 };
    match target.kind {
        // Large tiles read less for what they compute, small ones leave fewer of a GPU's cores without work.
        AdapterKind::Hardware => {
            let cost = |tile: &Tile| product.hardware_cost(*tile, parts, target.limits.busy).unwrap_or(usize::MAX);
            // Of equals the largest, which reads the least.
            let usable = Tile::ALL.into_iter().rev().filter(|&tile| matches!(tile, Tile::Shared { .. }));
            usable.min_by_key(cost).unwrap_or(Tile::Shared { rows: 4, quads: 1, side: 8 })
        }
        AdapterKind::Software => {
            let small = [Tile::Registers { rows: 4, quads: 2 }, Tile::Subgroup { rows: 16, quads: 1 }];
            let all = Tile::ALL.into_iter().filter(|_| product.flops() >= large);
            let usable = small.into_iter().chain(all).filter(|&tile| target.can_use(tile));
            usable.min_by_key(|tile| tile.cost(rows, quads, ta, tb)).unwrap_or(small[0])
        }
    }
}

/// What leaving sums in parts costs on hardware adapters beside the product itself, in multiply-adds of a thread: a dispatch
/// that adds the parts up, and bytes written and read again for each of them. Both from NVIDIA's H100, where a multiply-add
/// of a thread takes 1.3 nanoseconds.
const ADDING: usize = 4000;
const BYTES: u64 = 3200;

/// Parts that are tried.
const PARTS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// In how many parts the sums of a product are left with a tile for hardware adapters, each part for workgroups of its own,
/// and what it all costs then; nothing where the tile is not for them. Gradients of weights, whose left factor is transposed,
/// are long sums for few results: in parts they keep all cores busy. Others have results enough.
pub(crate) fn sharing(product: &Product, tile: Tile, limits: &Limits) -> Option<(usize, usize)> {
    let result = (product.rows as u64).saturating_mul(product.quads() as u64 * 16);
    let cost = |parts: usize| {
        let own = product.hardware_cost(tile, parts, limits.busy)?;
        let bytes = result.saturating_mul(parts as u64);
        let more = if parts > 1 { ADDING.saturating_add((bytes / BYTES * 2) as usize) } else { 0 };
        (parts == 1 || bytes <= limits.binding_bytes).then_some((parts, own.saturating_add(more)))
    };
    let most = if product.ta { &PARTS[..] } else { &PARTS[..1] };
    most.iter().filter_map(|&parts| cost(parts)).min_by_key(|(_, cost)| *cost)
}

/// In how many parts the sums of a product are left: on software adapters where they are too long for one loop.
pub(super) fn parts(values: &Values, id: NodeId, target: &Target) -> usize {
    let Some(product) = Product::of(values, id, target.rows) else { return 1 };
    match target.kind {
        AdapterKind::Hardware => {
            let tiles = match given(target, &product) {
                Some(tile) => vec![tile],
                None => Tile::ALL.to_vec(),
            };
            let shared = tiles.into_iter().filter_map(|tile| sharing(&product, tile, &target.limits));
            shared.min_by_key(|(_, cost)| *cost).map_or(1, |(parts, _)| parts)
        }
        AdapterKind::Software if tile(target, &product, 1).takes_parts() => {
            let mut parts = product_rounds(product.inner).div_ceil(ROUNDS).max(1);
            while product_rounds(part_of(product.inner, parts)) > ROUNDS {
                parts += 1;
            }
            parts
        }
        AdapterKind::Software => 1,
    }
}

/// Whether quads are moved as words of 64 bits.
pub(super) fn wide(target: &Target) -> bool {
    target.kind == AdapterKind::Software && target.limits.int64
}

/// Whether the group's product reads its left factor and its right one by octets, where its tile may. What else of the
/// group reads them would need them bound as quads, too.
fn octets(values: &Values, group: &Group, [a, b]: [NodeId; 2], [left, right]: [bool; 2], target: &Target) -> [bool; 2] {
    let others = group.nodes().filter(|&id| Some(id) != group.anchor);
    let read: Vec<NodeId> = others.flat_map(|id| &values[id].inputs).map(|&id| values.home(id)).collect();
    let may = |id: NodeId| {
        let home = values.home(id);
        values.shape(id).stride().is_multiple_of(8) && !values[home].half && !read.contains(&home)
    };
    let found = [left && may(a), right && may(b)].map(|octets| octets && wide(target));
    if values.home(a) == values.home(b) && found[0] != found[1] { [false; 2] } else { found }
}

/// Up to which step of its inner dimension a product asks ahead for the rows of its right factor: to the end where that is
/// too large for a core's own cache, else not at all, since asking takes a fortieth of the time.
pub(super) fn far(right: &Shape, target: &Target) -> usize {
    let bytes = right.matrix_rows(target.rows).saturating_mul(right.stride() * 4);
    if bytes >= 1 << 20 { u32::MAX as usize } else { 0 }
}

/// Tiles that a product takes one below the other before it goes on to the next column: where neither factor is transposed
/// and threads have two quads, so many that their left factors fit a core's own cache, since what they share of a large
/// right factor then comes from farther away but once. Others are faster across.
pub(super) fn down(left: &Shape, tile: Tile, transposed: bool) -> usize {
    let (rows, quads) = tile.size();
    let bytes = left.stride().saturating_mul(4 * rows);
    if transposed || quads == 1 { 1 } else { ((1 << 19) / bytes.max(1)).max(1) }
}

/// How a group without a product or a sum is shared out. Threads have a price on software adapters, above all with a row
/// of shuffled data to find, so there are as many as are enough.
fn map(values: &Values, group: &Group, target: &Target) -> Schedule {
    let shuffled = group.body.iter().any(|&id| matches!(values.op(id), Op::Gather { shuffled: true }));
    let (rows, quads) = (group.space.matrix_rows(target.rows), group.space.stride() / 4);
    let own = group.body.iter().any(|&id| matches!(values.op(id), Op::Own { .. }));
    let run = match target.kind {
        AdapterKind::Hardware => 1,
        // A thread's loops may go round so often, and those of a caller's kernel do for each value.
        AdapterKind::Software if own => 1,
        // Finding a row takes as long as sixteen of its quads.
        AdapterKind::Software if shuffled => quads.div_ceil(THREADS.div_ceil(rows)).clamp(quads.min(32), 1024),
        AdapterKind::Software => (rows * quads).div_ceil(THREADS).clamp(1, 1024),
    };
    Schedule::Map { run, shuffled }
}

/// Threads that are enough for software adapters.
const THREADS: usize = 256;

/// Rows that a reduction over rows of some kind adds up for a result, and whether it does so for each row of the batch.
pub(super) fn reduced(from: &Shape, over: Over) -> (usize, bool) {
    match over {
        Over::Blocks => (from.blocks(), false),
        Over::Inner => (from.inner(), false),
        Over::Batch => (1, from.batched),
        _ => (from.blocks(), from.batched),
    }
}

/// Quads that a reduction adds up for a result, at the largest batch.
pub(super) fn steps(from: &Shape, over: Over, target: &Target) -> usize {
    match (over, reduced(from, over)) {
        (Over::Columns, _) => from.stride() / 4,
        (_, (count, true)) => count * target.rows,
        (_, (count, false)) => count,
    }
}

/// How a reduction is shared out.
fn reduction(from: &Shape, over: Over, space: &Shape, target: &Target) -> Schedule {
    let (outputs, count) = (space.matrix_rows(target.rows), steps(from, over, target));
    match over {
        Over::Columns => Schedule::ReduceColumns { lanes: choose_lanes(target, outputs, count) },
        Over::Rows | Over::Batch | Over::Blocks | Over::Inner => {
            Schedule::ReduceRows { lanes: choose_lanes(target, outputs * space.stride() / 4, count) }
        }
    }
}

/// Rounds of a loop that a thread may take on software adapters: Mesa's llvmpipe ends the loops of a thread after 65,535
/// rounds in all, without a word. What is left over is for the loops that store the result.
pub(super) const ROUNDS: usize = 65_000;

/// Rounds that a product takes there for a sum of so many: four steps at a time, asked for ahead in as many rounds, by
/// parts that are rounds of their own.
pub(super) fn product_rounds(inner: usize) -> usize {
    inner.div_ceil(4).saturating_mul(2).saturating_add(inner / AHEAD)
}

/// Steps of a part of a sum there: a multiple of four, where there are several.
pub(super) fn part_of(inner: usize, parts: usize) -> usize {
    if parts > 1 { inner.div_ceil(parts).next_multiple_of(4) } else { inner }
}

/// Threads that share one result of a reduction of `count` steps.
fn choose_lanes(target: &Target, outputs: usize, count: usize) -> u32 {
    match target.kind {
        AdapterKind::Software if (outputs < 32 && count >= 2048) || count > ROUNDS => 64,
        AdapterKind::Software => 1,
        // As many as a product's workgroup has, so that both fit one dispatch.
        AdapterKind::Hardware if count >= 32 => 256,
        AdapterKind::Hardware => 1,
    }
}
