//! What the engine's own functions make of arguments that make no sense: an error or a number, never a panic.

use strait::Error;
use strait::graph::{Graph, Over, Shape, Sink, Tensor};
use strait::internals::graph::Access;
use strait::internals::kernel::{Schedule, Tile};
use strait::internals::plan::{AdapterKind, Limits, Recording, Target};
use strait::internals::reference::evaluate;
use strait::reference::Environment;

const EXTREMES: [usize; 6] = [0, 1, 7, 65_536, u32::MAX as usize, usize::MAX];

/// x W with its sum, which has a product and a reduction.
fn graph() -> Graph {
    let mut g = Graph::new(vec![Tensor { name: "w".into(), shape: Shape::fixed(&[6, 5]) }], vec![]);
    let (x, w) = (g.input(0, 6), g.param(0).unwrap());
    let y = g.matmul(x, w, false, false).unwrap();
    let s = g.sum(Over::Rows, y);
    g.sink(Sink::Output(0), s);
    g.sink(Sink::Output(1), y);
    g
}

fn target(kind: AdapterKind) -> Target {
    let limits = Limits::DEFAULT;
    Target { kind, limits, rows: 9, data_rows: 9, tile: None, tuning: None, quick: false, optimise: true }
}

/// A sink that receives a node of a larger graph is refused by number, before and after halving: halving adds nodes, of
/// which none may take that number.
#[test]
fn foreign_sinks_stay_foreign() {
    let mut large = graph();
    let last = (0..40).fold(large.input(1, 3), |x, i| large.map([x], |[x]| x + f64::from(i + 1)).unwrap());
    for own in [0, 1] {
        let mut g = graph();
        if own == 1 {
            g = Graph::new(vec![], vec![]);
        }
        g.sink(Sink::Output(7), last);
        for (what, g) in [("as it is", g.clone()), ("halved", g.halved()), ("twice", g.halved().halved())] {
            let planned = Recording::new(&g, target(AdapterKind::Software)).map(drop);
            let run = evaluate(&g, &Environment::<f32>::default()).map(drop);
            for result in [g.check(), planned, run] {
                assert!(matches!(result, Err(Error::Node { .. })), "{what}: {result:?}");
            }
        }
    }
    // The first number that halving would hand out.
    let mut g = graph();
    let next = large.nodes().nth(g.nodes().count()).unwrap().0;
    g.sink(Sink::Output(7), next);
    assert!(matches!(g.halved().check(), Err(Error::Node { .. })));
}

#[test]
fn tiles_that_do_not_exist_are_refused() {
    for (rows, quads) in EXTREMES.into_iter().flat_map(|r| EXTREMES.map(|q| (r, q))) {
        let tiles = [
            Tile::Registers { rows, quads },
            Tile::Subgroup { rows, quads },
            Tile::Shared { rows, quads, side: quads },
            Tile::Cooperative { side: rows, subgroup: quads },
        ];
        for tile in tiles.into_iter().filter(|tile| !Tile::ALL.contains(tile)) {
            for kind in [AdapterKind::Software, AdapterKind::Hardware] {
                match Recording::new(&graph(), Target { tile: Some(tile), ..target(kind) }) {
                    Err(Error::Spec { field, value, .. }) => {
                        assert_eq!((field.as_str(), value), ("tile", format!("{tile:?}")));
                    }
                    other => panic!("{tile:?}: {:?}", other.map(drop)),
                }
            }
        }
    }
}

/// Every limit at every extreme, in both kinds of plan, at every extreme of a batch: a plan or an error.
#[test]
fn limits_of_nothing_and_of_everything() {
    let (mut plans, mut errors) = (0, 0);
    for (i, value) in (0..9).flat_map(|i| EXTREMES.map(|v| (i, v))) {
        let (word, long) = (value.min(u32::MAX as usize) as u32, value as u64);
        let mut limits = Limits::DEFAULT;
        match i {
            0 => limits.binding_bytes = long,
            1 => limits.buffer_bytes = long,
            2 => limits.workgroups = word,
            3 => limits.storage_buffers = value,
            4 => limits.subgroup = word,
            5 => limits.cooperative = word,
            6 => limits.busy = value,
            7 => limits.int64 = value > 0,
            _ => limits.f16 = value > 0,
        }
        for kind in [AdapterKind::Software, AdapterKind::Hardware] {
            for g in [graph(), graph().halved()] {
                for (rows, optimise) in [(9, true), (9, false), (value, true)] {
                    match Recording::new(&g, Target { limits, rows, data_rows: value, optimise, ..target(kind) }) {
                        Ok(recording) => {
                            assert!(recording.dispatches.iter().all(|d| d.workgroups.iter().all(|&w| w > 0)));
                            plans += 1;
                        }
                        Err(Error::Spec { .. } | Error::Limit { .. }) => errors += 1,
                        Err(other) => panic!("limit {i} of {value}, {rows} rows: {other}"),
                    }
                }
            }
        }
    }
    assert!(plans > 100 && errors > 100, "{plans} plans, {errors} errors");
}

#[test]
fn workgroups_of_any_schedule() {
    let tile = |i: usize, a: usize, b: usize| match i {
        0 => Tile::Registers { rows: a, quads: b },
        1 => Tile::Subgroup { rows: a, quads: b },
        2 => Tile::Shared { rows: a, quads: b, side: a },
        _ => Tile::Cooperative { side: a, subgroup: b },
    };
    for (a, b) in EXTREMES.into_iter().flat_map(|a| EXTREMES.map(|b| (a, b))) {
        let lanes = a.min(u32::MAX as usize) as u32;
        let mut schedules = vec![
            Schedule::Map { run: a, shuffled: false },
            Schedule::Map { run: a, shuffled: true },
            Schedule::ReduceColumns { lanes },
            Schedule::ReduceRows { lanes },
        ];
        schedules.extend((0..4).map(|i| Schedule::MatMul { tile: tile(i, a, b), ta: false, tb: true, parts: a }));
        for schedule in schedules {
            schedule.workgroup();
            for (rows, quads) in EXTREMES.into_iter().flat_map(|r| EXTREMES.map(|q| (r, q))) {
                for workgroup in [0, 1, 64, u32::MAX] {
                    schedule.groups(rows, quads, workgroup);
                }
            }
        }
    }
    // By hand: 100 rows of 30 quads in tiles of 4 rows by 2 quads are 25 x 15 threads, 8 to a workgroup.
    let tile = Tile::Registers { rows: 4, quads: 2 };
    assert_eq!(Schedule::MatMul { tile, ta: false, tb: false, parts: 1 }.groups(100, 30, 8), 47);
    assert_eq!(Schedule::ReduceRows { lanes: 1 }.groups(3, 11, 8), 5);
    assert_eq!(Schedule::Map { run: 3, shuffled: false }.groups(10, 10, 16), 3);
}

/// Accesses are plain data, so anybody can write one that no two shapes have.
#[test]
fn rows_of_any_access() {
    for (a, b) in EXTREMES.into_iter().flat_map(|a| EXTREMES.map(|b| (a, b))) {
        for row in EXTREMES {
            for extents in [[a, b, a, b], [b, a, a, b], [0, a, b, b], [a, b, 0, b], [a, b, b, 0]] {
                let [space_blocks, batch_stride, divisor, modulus] = extents;
                let access = Access { same_row: false, space_blocks, batch_stride, divisor, modulus, splat: false };
                access.row(row);
            }
        }
    }
    // By hand: of [batch, 3, 4] as [batch, 1, 4], and of [3, 1, 2] in [3, 5, 2].
    let access = Access::new(&Shape::batched(&[1, 4]), &Shape::batched(&[3, 4])).unwrap();
    assert_eq!([0, 2, 3, 8].map(|row| access.row(row)), [0, 0, 1, 2]);
    let access = Access::new(&Shape::fixed(&[3, 1, 2]), &Shape::fixed(&[3, 5, 2])).unwrap();
    assert_eq!([0, 4, 5, 14].map(|row| access.row(row)), [0, 0, 1, 2]);
}

/// A batch that no memory holds is refused by the interpreter.
#[test]
fn batches_without_end() {
    for rows in [1 << 40, usize::MAX] {
        let mut g = Graph::new(vec![], vec![]);
        let ones = g.fill(1.0, Shape::batched(&[4]));
        g.sink(Sink::Output(0), ones);
        match evaluate(&g, &Environment::<f64> { rows, ..Environment::default() }) {
            Err(Error::Limit { allowed, .. }) => assert_eq!(allowed, u64::from(u32::MAX)),
            other => panic!("{:?}", other.map(drop)),
        }
    }
}
