//! The choice of kernels: which tile a product takes, how a map is shared out, how many threads add up a sum. It is a
//! function of the kind of adapter, its limits, shapes and tuning alone: nothing is timed.

use super::fuse::{Group, reduction, root};
use super::slots::in_half;
use super::tuning::Product;
use super::{AdapterKind, Target};
use crate::graph::{Graph, NodeId, Op, Over, Shape};
use crate::kernel::{Schedule, Tile};

/// The group's matrix product at the largest batch, if it has one.
pub(super) fn product(graph: &Graph, group: &Group, target: &Target) -> Option<Product> {
    group.anchor.and_then(|id| Product::of(graph, id, target.rows))
}

/// The tile for a product: a function of the target and of shapes alone, nothing is timed. On
/// software adapters all tiles add up in the same order, so they give the same bits.
pub(super) fn choose_tile(target: &Target, graph: &Graph, group: &Group) -> Tile {
    let product = product(graph, group, target);
    let tuned = || target.tuning.as_ref()?.tiles.get(&product?).copied();
    let half = product.is_some_and(|product| product.half);
    if let Some(tile) = target.tile.or_else(tuned).filter(|tile| tile.suits(half)) {
        return tile;
    }
    let (rows, quads) = (group.space.matrix_rows(target.rows), group.space.stride() / 4);
    let ((ta, tb), flops) = product.map_or(Default::default(), |product| ((product.ta, product.tb), product.flops()));
    // Larger tiles run faster and compile longer: operations from which they pay.
    let large = if target.quick { 1_000_000_000 } else { 1_000_000 };
    match target.kind {
        // Large tiles read less for what they compute, small ones leave fewer of a GPU's cores without work.
        AdapterKind::Hardware => {
            let inner = product.map_or(1, |product| product.inner);
            let cost =
                |tile: &Tile| tile.hardware_cost([rows, quads, inner], ta, target.limits.busy).unwrap_or(usize::MAX);
            // Of equals the largest, which reads the least.
            let usable = Tile::ALL.into_iter().rev().filter(|&tile| matches!(tile, Tile::Shared { .. }));
            usable.min_by_key(cost).unwrap_or(Tile::Shared { rows: 4, quads: 1, side: 8 })
        }
        AdapterKind::Software => {
            let small = [Tile::Registers { rows: 4, quads: 2 }, Tile::Subgroup { rows: 16, quads: 1 }];
            let all = Tile::ALL.into_iter().filter(|_| flops >= large);
            let usable = small.into_iter().chain(all).filter(|&tile| target.can_use(tile));
            usable.min_by_key(|tile| tile.cost(rows, quads, ta, tb)).unwrap_or(small[0])
        }
    }
}

/// Whether quads are moved as words of 64 bits.
pub(super) fn wide(target: &Target) -> bool {
    target.kind == AdapterKind::Software && target.limits.int64
}

/// Whether the group's product reads its left factor and its right one by octets. What else of the group reads them would
/// need them bound as quads, too.
pub(super) fn octets(graph: &Graph, group: &Group, target: &Target) -> [bool; 2] {
    let Some(&Op::MatMul { a, b, ta, tb }) = group.anchor.map(|id| &graph.node(id).op) else { return [false; 2] };
    let others = group.nodes().filter(|&id| Some(id) != group.anchor);
    let read: Vec<NodeId> = others.flat_map(|id| graph.node(id).inputs()).map(|id| root(graph, id)).collect();
    let may = |id: NodeId| {
        let home = root(graph, id);
        graph.shape(id).stride().is_multiple_of(8) && !in_half(graph, home) && !read.contains(&home)
    };
    let [left, right] = choose_tile(target, graph, group).octets(ta, tb);
    let found = [left && may(a), right && may(b)].map(|octets| octets && wide(target));
    if root(graph, a) == root(graph, b) && found[0] != found[1] { [false; 2] } else { found }
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
pub(super) fn map(graph: &Graph, group: &Group, target: &Target) -> Schedule {
    let shuffled = group.body.iter().any(|&id| matches!(graph.node(id).op, Op::Gather { shuffled: true }));
    let (rows, quads) = (group.space.matrix_rows(target.rows), group.space.stride() / 4);
    let run = match target.kind {
        AdapterKind::Hardware => 1,
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

/// Threads that share one result of a group's reduction.
pub(super) fn lanes(graph: &Graph, group: &Group, target: &Target) -> u32 {
    let Some((_, over, input)) = group.anchor.and_then(|anchor| reduction(graph, anchor)) else { return 1 };
    let (from, outputs) = (graph.shape(input), group.space.matrix_rows(target.rows));
    let results = if over == Over::Columns { outputs } else { outputs * group.space.stride() / 4 };
    choose_lanes(target, results, steps(from, over, target))
}

/// Rounds of a loop that a thread may take on software adapters: Mesa's llvmpipe ends the loops of a thread after 65,535
/// rounds in all, without a word. What is left over is for the loops that store the result.
pub(super) const ROUNDS: usize = 65_000;

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
