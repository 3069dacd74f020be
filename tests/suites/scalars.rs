//! Scalars by name: every column of tables of every width, in every row, by name; names that are not there, not single or
//! too many.

use crate::common::gpu;
use strait::graph::{Graph, Kept, Set, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::graph::Scalars;
use strait::internals::plan::{Recording, Role, Target};
use strait::internals::state::State;
use strait::{Error, Optimizer};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("scalar {i}")).collect()
}

/// What stands in a row and a column of the tables below: no two places have the same, and f32 holds it.
fn value(row: usize, column: usize) -> f32 {
    (row * 64 + column) as f32 + 0.5
}

/// A graph that gives three columns of its table, each in a way of its own: alone, in a map, and as a matrix.
fn three(count: usize) -> Graph {
    let mut g = Graph::new(vec![], vec![]).with_scalars(Scalars::new(names(count)).unwrap());
    let last = g.scalar(&format!("scalar {}", count - 1)).unwrap();
    let middle = g.scalar(&format!("scalar {}", count / 2)).unwrap();
    let first = g.scalar("scalar 0").unwrap();
    let doubled = g.map([middle, last], |[a, b]| a * 2.0 + b * 0.0).unwrap();
    let matrix = g.view(last, Shape::fixed(&[1, 1])).unwrap();
    for (i, node) in [first, doubled, matrix].into_iter().enumerate() {
        g.sink(Sink::Output(i), node);
    }
    g
}

#[test]
fn every_width_and_row() {
    for count in [1, 2, 4, 5, 8, 15, 16, 17, 31, 32, 33, 64] {
        let graph = three(count);
        let (quads, rows) = (graph.scalars().quads(), graph.scalars().rows());
        assert_eq!(quads, count.div_ceil(4));
        let expected = match count {
            1..=4 => 1024,
            5..=8 => 512,
            _ => 256,
        };
        assert_eq!(rows, expected, "{count} columns");
        assert!(rows * quads * 16 <= 64 << 10, "a uniform of WebGPU's smallest size");
        let evaluator = Evaluator::new(&gpu(), &graph, 1).unwrap();
        let table: Vec<f32> = (0..rows * quads * 4).map(|i| value(i / (quads * 4), i % (quads * 4))).collect();
        evaluator.table(&table).unwrap();
        for row in [0, 1, 100, 255, 256, 511, 777, 1023] {
            evaluator.run(State { table_row: row as u32, ..State::once(1, 0) }).unwrap();
            let [first, doubled, last] = [0, 1, 2].map(|i| evaluator.sink(Sink::Output(i), 1).unwrap()[0]);
            let at = row % rows;
            assert_eq!(first, value(at, 0), "{count} columns, row {row}");
            assert_eq!(doubled, 2.0 * value(at, count / 2), "{count} columns, row {row}");
            assert_eq!(last, value(at, count - 1), "{count} columns, row {row}");
        }
    }
}

/// The passes of a step read its row; the update, after its end, that of the step it belongs to.
#[test]
fn updates_read_the_row_of_their_step() {
    for count in [4, 40] {
        let tensors = vec![Tensor { name: "w".into(), shape: Shape::fixed(&[1, 4]) }];
        let mut g = Graph::new(tensors, vec![]).with_scalars(Scalars::new(names(count)).unwrap());
        let arena = Set::FIRST.arena(Kept::Values);
        let (old, scalar) = (g.arena(arena), g.scalar("scalar 2").unwrap());
        let new = g.map([old, scalar], |[w, s]| w * 0.0 + s).unwrap();
        g.sink(Sink::Update(arena), new);
        let width = g.scalars().quads() * 4;
        let evaluator = Evaluator::new(&gpu(), &g, 1).unwrap();
        let table: Vec<f32> = (0..g.scalars().rows() * width).map(|i| value(i / width, i % width)).collect();
        evaluator.table(&table).unwrap();
        evaluator.run(State { table_row: 6, update_row: 5, ..State::once(1, 0) }).unwrap();
        assert_eq!(evaluator.kept(arena).unwrap().unwrap()[..4], [value(5, 2); 4]);
    }
}

#[test]
fn names_that_cannot_be_had() {
    let refused = |found: Result<(), Error>| match found {
        Err(Error::Spec { field, value, allowed, .. }) => (field, value, allowed),
        other => panic!("{other:?}"),
    };
    assert!(Scalars::new(names(64)).is_ok());
    let (field, value, allowed) = refused(Scalars::new(names(65)).map(drop));
    assert_eq!((&field[..], &value[..], &allowed[..]), ("scalars", "65", "at most 64"));
    let (field, value, _) = refused(Scalars::new(["beta", "rate", "beta"]).map(drop));
    assert_eq!((&field[..], &value[..]), ("scalars", "\"beta\" twice"));
    let mut g = Graph::new(vec![], vec![]).with_scalars(Scalars::new(["beta", "rate"]).unwrap());
    let (field, value, allowed) = refused(g.scalar("sigma").map(drop));
    assert_eq!((&field[..], &value[..], &allowed[..]), ("scalar", "\"sigma\"", "beta, rate"));
    let mut none = Graph::new(vec![], vec![]);
    assert_eq!(refused(none.scalar("sigma").map(drop)).0, "scalar");
    // A node that was made for another table.
    let beta = g.scalar("rate").unwrap();
    g.sink(Sink::Output(0), beta);
    let other = g.with_scalars(Scalars::new(["beta"]).unwrap());
    assert_eq!(refused(other.check()).0, "scalar");
}

/// The update reads its scalars by name, in a table of one quad a row: nothing is wider than it was.
#[test]
fn the_table_of_an_update() {
    let params = vec![Tensor { name: "w".into(), shape: Shape::fixed(&[3, 5]) }];
    let update = Optimizer::ADAM.graph(&params, None).unwrap();
    assert_eq!(update.scalars().names(), ["learning_rate", "first_moment", "second_moment"]);
    let recording = Recording::new(&update, Target::of(&gpu(), 1)).unwrap();
    let table = recording.buffers.iter().find(|(role, _)| *role == Role::Table).unwrap();
    assert_eq!(table.1, 16 << 10);
    assert!(recording.buffers.iter().any(|(role, _)| *role == Role::Arena(Set::FIRST.arena(Kept::First(0)))));
}
