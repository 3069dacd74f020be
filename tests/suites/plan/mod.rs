//! Plans: whatever is fused and however memory is shared, the results stay the same, on the CPU and on the GPU, and
//! every dispatch keeps the limits.

mod graphs;

use std::collections::BTreeMap;

use crate::common::{both, gpu, squared_error, values};
use graphs::{DATA_ROWS, random_graph};
use strait::graph::{Arena, Compare, Distribution, Expr, Graph, Kept, Over, Reduction, Set, Shape, Sink, Tensor};
use strait::internals::gpu::{Program, Work};
use strait::internals::graph::{Layout, Op, Scalars};
use strait::internals::kernel::{Space, Tile, reflect};
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Limits, Recording, Role, Target};
use strait::internals::reference::{evaluate, replay};
use strait::internals::state::State;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Activation, Error, Spec};

/// Room for more rows than the batch has.
fn target(env: &Environment<f32>) -> Target {
    Target {
        kind: AdapterKind::Hardware,
        limits: Limits::DEFAULT,
        rows: env.rows + 2,
        data_rows: DATA_ROWS,
        tile: None,
        tuning: None,
        quick: false,
        optimise: true,
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The rules that every dispatch keeps.
fn check_bindings(recording: &Recording) {
    let limits = recording.target.limits;
    for dispatch in &recording.dispatches {
        let what = format!("{}\n{recording}", dispatch.label);
        let declared = reflect(&dispatch.label, &dispatch.wgsl).expect("a kernel").bindings;
        assert_eq!(declared.len(), dispatch.bindings.len() + 2, "{what}");
        let stored = declared[2..].iter().filter(|binding| binding.space != Space::Uniform).count();
        assert!(stored <= limits.storage_buffers, "{what}");
        for (place, binding) in dispatch.bindings.iter().zip(&declared[2..]) {
            for (other, declaration) in dispatch.bindings.iter().zip(&declared[2..]) {
                let mixed = other.role == place.role && binding.space != declaration.space;
                assert!(!mixed, "{:?} is bound both read-only and written: {what}", place.role);
            }
            assert_eq!(binding.space == Space::Uniform, place.role == Role::Table, "{what}");
            let room = recording.buffers.iter().find(|(role, _)| *role == place.role).map(|(_, bytes)| *bytes);
            let flags = place.role == Role::Flags;
            assert!(flags || room.is_some_and(|room| place.offset + place.bytes <= room), "{place:?}: {what}");
            assert!(place.offset % 256 == 0 && place.bytes > 0, "{place:?}: {what}");
        }
    }
}

/// A plan computes what the graph says, to the bit: the same operations in the same order.
fn check_replay(graph: &Graph, env: &Environment<f32>, target: Target, what: &str) {
    let values = evaluate(graph, env).expect("the reference");
    let recording = Recording::new(graph, target).unwrap_or_else(|e| panic!("{what}: {e}"));
    check_bindings(&recording);
    let results = replay(&recording, env).unwrap_or_else(|e| panic!("{what}: {e}\n{recording}"));
    for &(sink, id) in graph.sinks() {
        assert_eq!(bits(&results[&sink]), bits(&values[&id]), "{what}: {sink:?}\n{recording}");
    }
}

#[test]
fn plans_of_random_graphs_compute_the_graph() {
    for seed in 0..400 {
        let (graph, env) = random_graph(seed);
        for optimise in [true, false] {
            for kind in [AdapterKind::Software, AdapterKind::Hardware] {
                let target = Target { kind, optimise, ..target(&env) };
                check_replay(&graph, &env, target.clone(), &format!("seed {seed}, {kind:?}, optimise {optimise}"));
                check_replay(&graph.halved(), &env, target, &format!("half, seed {seed}, {kind:?}, {optimise}"));
            }
        }
    }
}

/// Planned and unplanned give the same bits, and both are close to the interpreter.
#[test]
fn random_graphs_on_the_gpu() {
    let gpu = gpu();
    for seed in 0..12 {
        let (graph, env) = random_graph(seed);
        let run = |optimise| {
            let tile = Some(Tile::Registers { rows: 4, quads: 1 });
            let target = Target { kind: gpu.kind(), limits: gpu.limits(), tile, optimise, ..target(&env) };
            both(&gpu, &graph, target, &env)
        };
        for ((sink, planned, expected), (_, unplanned, _)) in run(true).into_iter().zip(run(false)) {
            assert_eq!(bits(&planned), bits(&unplanned), "seed {seed}: {sink:?}");
            for (found, expected) in planned.iter().zip(&expected) {
                let error = (found - expected).abs();
                assert!(error <= 1e-5 * (1.0 + expected.abs()), "seed {seed}: {sink:?}: {found} against {expected}");
            }
        }
    }
}

fn tensor(name: &str, dims: &[usize]) -> Tensor {
    Tensor { name: name.into(), shape: Shape::fixed(dims) }
}

fn plan(graph: &Graph, rows: usize) -> Recording {
    let env = Environment { rows, ..Environment::default() };
    Recording::new(graph, target(&env)).expect("a plan")
}

/// Four, as an optimizer with decay has them.
const SCALARS: [&str; 4] = ["rate", "first", "second", "decay"];

fn scalars() -> Scalars {
    Scalars::new(SCALARS).unwrap()
}

/// Adam's update over whole arenas, written as its user would: three updates and the table's scalars.
fn adam() -> (Graph, Environment<f32>) {
    let params = vec![tensor("w", &[3, 5]), tensor("b", &[5]), tensor("v", &[40, 33])];
    let layout = Layout::new(&params);
    let mut g = Graph::new(params.clone(), vec![]).with_scalars(scalars());
    let [p, d, m, v] = [
        Set::FIRST.arena(Kept::Values),
        Set::FIRST.arena(Kept::Gradients),
        Set::FIRST.arena(Kept::First(0)),
        Set::FIRST.arena(Kept::Second(0)),
    ]
    .map(|a| g.arena(a));
    let [rate, first, second, decay] = SCALARS.map(|name| g.scalar(name).unwrap());
    let m = g.map([m, d], |[m, d]| 0.9 * m + 0.1 * d).unwrap();
    let v = g.map([v, d], |[v, d]| 0.999 * v + 0.001 * d.square()).unwrap();
    let step = g
        .map([m, v, rate, first, second], |[m, v, rate, first, second]| rate * first * m / ((v * second).sqrt() + 1e-8))
        .unwrap();
    let p = g.map([p, step, decay], |[p, step, decay]| &p - step - decay * &p).unwrap();
    for (arena, node) in [
        (Set::FIRST.arena(Kept::First(0)), m),
        (Set::FIRST.arena(Kept::Second(0)), v),
        (Set::FIRST.arena(Kept::Values), p),
    ] {
        g.sink(Sink::Update(arena), node);
    }
    let drawn = |stream: u32, low: f64| -> Vec<f32> {
        let tensors: Vec<Vec<f32>> =
            (stream..).zip(&params).map(|(s, t)| values(s, t.shape.elements(1), (low, 1.0))).collect();
        layout.pack(&params, &tensors).unwrap()
    };
    let arenas = [
        (Set::FIRST.arena(Kept::Values), -1.0),
        (Set::FIRST.arena(Kept::Gradients), -1.0),
        (Set::FIRST.arena(Kept::First(0)), -1.0),
        (Set::FIRST.arena(Kept::Second(0)), 0.0),
    ];
    let arenas = (0..).zip(arenas).map(|(i, (arena, low))| (arena, drawn(10 * i, low))).collect();
    (g, Environment { rows: 1, arenas, table: vec![0.01, 1.5, 1.25, 0.001], ..Environment::default() })
}

#[test]
fn an_adam_step_is_one_dispatch() {
    let (graph, env) = adam();
    let recording = Recording::new(&graph, target(&env)).expect("a plan");
    assert_eq!(recording.dispatches.len(), 1, "{recording}");
    let gpu = gpu();
    for optimise in [true, false] {
        let target = Target { optimise, ..target(&env) };
        check_replay(&graph, &env, target.clone(), &format!("optimise {optimise}"));
        let target = Target { kind: gpu.kind(), limits: gpu.limits(), ..target };
        for (sink, found, expected) in both(&gpu, &graph, target, &env) {
            assert!(squared_error(&found, &expected) < 1e-13, "{sink:?}, optimise {optimise}");
        }
    }
}

/// An arena is written after everything that reads it, and element by element only over what was read in its place.
#[test]
fn arenas_are_written_last() {
    let gpu = gpu();
    type Build = fn(&mut Graph);
    let build: [(&str, Build); 7] = [
        ("read later", |g| {
            let (p, d) = (g.arena(Set::FIRST.arena(Kept::Values)), g.arena(Set::FIRST.arena(Kept::Gradients)));
            let new = g.map([p, d], |[p, d]| p - 0.5 * d).unwrap();
            g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
            let doubled = g.map([p], |[p]| p * 2.0).unwrap();
            let top = g.reduce(Reduction::Max, Over::Rows, doubled);
            g.sink(Sink::Output(0), top);
        }),
        ("a parameter read later", |g| {
            let (p, w) = (g.arena(Set::FIRST.arena(Kept::Values)), g.param(0).unwrap());
            let new = g.map([p], |[p]| p * 2.0).unwrap();
            g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
            g.sink(Sink::Output(0), w);
        }),
        ("a parameter read by everyone", |g| {
            let (p, w) = (g.arena(Set::FIRST.arena(Kept::Values)), g.param(1).unwrap());
            let new = g.map([p, w], |[p, w]| p + w).unwrap();
            g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
        }),
        ("swapped", |g| {
            let (m, v) = (g.arena(Set::FIRST.arena(Kept::First(0))), g.arena(Set::FIRST.arena(Kept::Second(0))));
            g.sink(Sink::Update(Set::FIRST.arena(Kept::First(0))), v);
            g.sink(Sink::Update(Set::FIRST.arena(Kept::Second(0))), m);
            g.sink(Sink::Output(0), m);
        }),
        ("neighbours", |g| {
            let p = g.arena(Set::FIRST.arena(Kept::Values));
            let next = g.columns(p, 1, g.shape(p).columns()).unwrap();
            let new = g.map([p, next], |[p, n]| 0.5 * p + n).unwrap();
            g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
        }),
        ("a product", |g| {
            let (d, c) = (g.arena(Set::FIRST.arena(Kept::Gradients)), g.constant(0).unwrap());
            let new = g.matmul(d, c, false, false).unwrap();
            g.sink(Sink::Update(Set::FIRST.arena(Kept::Gradients)), new);
        }),
        ("gradients", |g| {
            let (d, w) = (g.arena(Set::FIRST.arena(Kept::Gradients)), g.param(0).unwrap());
            let new = g.map([w], |[w]| w.exp()).unwrap();
            g.sink(Sink::Gradient(0), new);
            let top = g.reduce(Reduction::Max, Over::Columns, d);
            g.sink(Sink::Output(0), top);
        }),
    ];
    let params = vec![tensor("w", &[30, 60]), tensor("b", &[])];
    let constants = vec![tensor("c", &[1024, 1024])];
    let layout = Layout::new(&params);
    let drawn: Vec<Vec<f32>> = (0..).zip(&params).map(|(i, t)| values(i, t.shape.elements(1), (-1.0, 1.0))).collect();
    let arenas = [
        Set::FIRST.arena(Kept::Values),
        Set::FIRST.arena(Kept::Gradients),
        Set::FIRST.arena(Kept::First(0)),
        Set::FIRST.arena(Kept::Second(0)),
    ];
    let filled = |i: u32| values(10 * i, layout.bytes as usize / 4, (-1.0, 1.0));
    let mut arenas: BTreeMap<Arena, Vec<f32>> = (0..).zip(arenas).map(|(i, arena)| (arena, filled(i))).collect();
    arenas.insert(Set::FIRST.arena(Kept::Values), layout.pack(&params, &drawn).unwrap());
    let constant = values(90, 1 << 20, (-0.03, 0.03));
    let env = Environment { rows: 1, params: drawn, constants: vec![constant], arenas, ..Environment::default() };
    for (what, build) in build {
        let mut g = Graph::new(params.clone(), constants.clone());
        build(&mut g);
        for optimise in [true, false] {
            let target = Target { optimise, ..target(&env) };
            check_replay(&g, &env, target.clone(), &format!("{what}, optimise {optimise}"));
            let target = Target { kind: gpu.kind(), limits: gpu.limits(), ..target };
            for (sink, found, expected) in both(&gpu, &g, target, &env) {
                let error = squared_error(&found, &expected);
                assert!(error < 1e-12, "{what}, optimise {optimise}: {sink:?} off by {error:e}");
            }
        }
    }
}

/// tanh(x W + b) with a loss, and the gradients with respect to W, b and x.
/// A new value of an arena is read where it is computed; where its readers bind too much for that, they get a copy.
#[test]
fn readers_of_a_new_value_that_have_no_room_beside_it() {
    let constants: Vec<Tensor> = (0..5).map(|i| tensor(&format!("c{i}"), &[1, 1024])).collect();
    let params = vec![tensor("w", &[1024])];
    let mut g = Graph::new(params.clone(), constants.clone());
    let [p, d] = [Kept::Values, Kept::Gradients].map(|kept| g.arena(Set::FIRST.arena(kept)));
    let new = g.map([p, d], |[p, d]| p - 0.1 * d).unwrap();
    g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
    let others: Vec<_> = (0..5).map(|i| g.constant(i).unwrap()).collect();
    let read =
        g.map([new, others[0], others[1], others[2], others[3], others[4]], |[n, a, b, c, d, e]| n * a + b * c + d * e);
    g.sink(Sink::Output(0), read.unwrap());
    let layout = Layout::new(&params);
    let arena = |seed| layout.pack(&params, &[values(seed, 1024, (-1.0, 1.0))]).unwrap();
    let env = Environment {
        rows: 1,
        params: vec![values(1, 1024, (-1.0, 1.0))],
        constants: (0..5).map(|i| values(20 + i, 1024, (-1.0, 1.0))).collect(),
        arenas: [(Set::FIRST.arena(Kept::Values), arena(1)), (Set::FIRST.arena(Kept::Gradients), arena(2))].into(),
        ..Environment::default()
    };
    assert_eq!(
        Recording::new(&g, target(&env)).unwrap().dispatches.len(),
        2,
        "both places of the new value, its readers"
    );
    check_replay(&g, &env, target(&env), "no room");
    let roomy = Limits { storage_buffers: 9, ..Limits::DEFAULT };
    let roomy = Target { limits: roomy, ..target(&env) };
    assert_eq!(Recording::new(&g, roomy.clone()).unwrap().dispatches.len(), 1);
    check_replay(&g, &env, roomy, "room");
}

fn dense() -> Graph {
    let mut g = Graph::new(vec![tensor("weight", &[16, 10]), tensor("bias", &[10])], vec![]);
    g.set_scope("dense");
    let x = g.input(0, 16);
    let (w, b) = (g.param(0).unwrap(), g.param(1).unwrap());
    let z = g.matmul(x, w, false, false).unwrap();
    let h = g.map([z, b], |[z, b]| (z + b).tanh()).unwrap();
    g.sink(Sink::Output(0), h);
    g
}

#[test]
fn a_dense_layer_is_one_dispatch() {
    let recording = plan(&dense(), 100);
    assert_eq!(recording.dispatches.len(), 1, "{recording}");
}

/// The gradient at the layer's result goes through the slope of tanh in one dispatch; both products and the sum over the
/// batch run side by side in another.
#[test]
fn the_backward_pass_of_a_dense_layer_is_two_dispatches() {
    let mut g = dense();
    let forward = plan(&g, 100).dispatches.len();
    let ids: Vec<_> = g.nodes().map(|(id, _)| id).collect();
    let (x, w, b, h) = (ids[0], ids[1], ids[2], ids[4]);
    let seed = g.input(1, 10);
    let gradients = g.vjp(h, seed, &[w, b, x]).unwrap();
    g.sink(Sink::Gradient(0), gradients[0]);
    g.sink(Sink::Gradient(1), gradients[1]);
    g.sink(Sink::Output(1), gradients[2]);
    let recording = plan(&g, 100);
    assert_eq!(recording.dispatches.len(), forward + 2, "{recording}");
}

/// What is computed of a parameter alone and added to a product is computed where the product is stored.
#[test]
fn a_term_beside_a_product_is_part_of_its_dispatch() {
    let mut g = Graph::new(vec![tensor("weight", &[16, 8]), tensor("scale", &[8])], vec![]);
    let (x, delta) = (g.input(0, 16), g.input(1, 8));
    let (w, s) = (g.param(0).unwrap(), g.param(1).unwrap());
    let slope = g.map([w, s], |[w, s]| 2.0 * w * s.exp()).unwrap();
    let product = g.matmul(x, delta, true, false).unwrap();
    let gradient = g.map([product, slope], |[p, s]| p + s).unwrap();
    g.sink(Sink::Gradient(0), gradient);
    let recording = plan(&g, 100);
    assert_eq!(recording.dispatches.len(), 1, "{recording}");
    let drawn = |stream, n| values(stream, n, (-1.0, 1.0));
    let env = Environment {
        rows: 4,
        inputs: vec![drawn(1, 64), drawn(2, 32)],
        params: vec![drawn(3, 128), drawn(4, 8)],
        ..Environment::default()
    };
    check_replay(&g, &env, target(&env), "a term beside a product");
}

/// Two products run side by side in one dispatch, become one tensor in another, and what is done to its parts is a third.
#[test]
fn a_concatenation_is_one_dispatch() {
    let mut g = Graph::new(vec![tensor("v", &[8, 5]), tensor("w", &[8, 3])], vec![]);
    let (x, v, w) = (g.input(0, 8), g.param(0).unwrap(), g.param(1).unwrap());
    let (left, right) = (g.matmul(x, v, false, false).unwrap(), g.matmul(x, w, false, false).unwrap());
    let (left, right) = (g.pad(left, 0, 8).unwrap(), g.pad(right, 5, 8).unwrap());
    let both = g.map([left, right], |[a, b]| (a + b).tanh()).unwrap();
    let (low, high) = (g.slice(both, 0, 4).unwrap(), g.slice(both, 4, 4).unwrap());
    let product = g.map([low, high], |[a, b]| a * b.exp()).unwrap();
    g.sink(Sink::Output(0), product);
    let recording = plan(&g, 100);
    assert_eq!(recording.dispatches.len(), 3, "{recording}");
    let drawn = |stream, n| values(stream, n, (-1.0, 1.0));
    let env = Environment {
        rows: 4,
        inputs: vec![drawn(1, 32)],
        params: vec![drawn(2, 40), drawn(3, 24)],
        ..Environment::default()
    };
    check_replay(&g, &env, target(&env), "side by side");
}

/// What is shifted on the way into a reduction is not computed there itself: its neighbours are needed.
#[test]
fn the_neighbours_of_a_shift_lie_in_memory() {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 6);
    let y = g.map([x], |[x]| x.exp()).unwrap();
    let shifted = g.columns(y, 1, 6).unwrap();
    let sum = g.sum(Over::Columns, shifted);
    g.sink(Sink::Output(0), sum);
    let env = Environment { rows: 4, inputs: vec![values(1, 24, (-1.0, 1.0))], ..Environment::default() };
    check_replay(&g, &env, target(&env), "a shift");
}

/// A training step of L dense layers: the batch, L dispatches forward and L backward, and the sum of the loss; `finish`
/// and the update are two more. On software adapters large products do not share a dispatch, but find room beside what
/// else there is.
#[test]
fn a_training_step_is_two_dispatches_a_layer() {
    let spec = Spec::symmetric(&[784, 300, 150], Activation::Relu);
    let graph = Network::new(&spec).unwrap().graph(Purpose::Train, true).unwrap();
    for kind in [AdapterKind::Hardware, AdapterKind::Software] {
        let target = Target { kind, data_rows: 1000, ..target(&Environment { rows: 150, ..Environment::default() }) };
        let recording = Recording::new(&graph, target).unwrap();
        assert_eq!(recording.dispatches.len(), 2 * 4 + 2, "{recording}");
    }
}

/// The whole plan of a small model, as people read it.
#[test]
fn the_plan_of_a_small_model_is_as_written_down() {
    let mut g = dense();
    let h = g.sinks()[0].1;
    let squares = g.map([h], |[h]| h.square()).unwrap();
    let loss = g.batch_mean(squares).unwrap();
    let ids: Vec<_> = g.nodes().map(|(id, _)| id).collect();
    let gradients = g.gradient(loss, &ids[1..3]).unwrap();
    g.term("loss", loss);
    g.sink(Sink::Gradient(0), gradients[0]);
    g.sink(Sink::Gradient(1), gradients[1]);
    let found = plan(&g, 100).to_string();
    assert_eq!(found.trim(), include_str!("golden.txt").trim(), "found:\n{found}");
}

/// What a plan needs and may have, where it is refused.
fn refusal(graph: &Graph, target: Target) -> (String, u64, u64, &'static str) {
    match Recording::new(graph, target) {
        Err(Error::Limit { what, needs, allowed, limit, .. }) => (what, needs, allowed, limit),
        Err(other) => panic!("refused with {other}"),
        Ok(recording) => panic!("not refused\n{recording}"),
    }
}

/// Recordings are plain data, so that a refusal comes before anything is allocated; it names the tensor.
#[test]
fn a_tensor_that_does_not_fit_is_named() {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 4);
    g.set_scope("wide");
    let wide = g.map_to(Expr::input(0).exp(), &[x], Shape::batched(&[64, 4])).unwrap();
    g.set_scope("sum");
    let top = g.reduce(Reduction::Max, Over::Columns, wide);
    let rest = g.map([wide, top], |[w, t]| w - t).unwrap();
    let sum = g.sum(Over::Columns, rest);
    g.sink(Sink::Output(0), sum);
    let at = |rows| Target { rows, ..target(&Environment::default()) };
    let bytes = |rows: u64| rows * 64 * 4 * 4;
    let (what, needs, allowed, limit) = refusal(&g, at(300_000));
    assert!(what.contains("wide"), "{what}");
    assert_eq!((needs, allowed, limit), (bytes(300_000), 256 << 20, "max_buffer_size"), "{what}");
    let (what, needs, allowed, limit) = refusal(&g, at(200_000));
    assert!(what.contains("wide"), "{what}");
    assert_eq!((needs, allowed, limit), (bytes(200_000), 128 << 20, "max_storage_buffer_binding_size"));
    Recording::new(&g, at(131_072)).expect("just fits");
}

#[test]
fn an_arena_that_does_not_fit_is_refused() {
    let mut g = Graph::new(vec![tensor("huge", &[9000, 8192])], vec![]);
    let w = g.param(0).unwrap();
    let sum = g.sum_all(w);
    g.term("sum", sum);
    let (what, needs, allowed, limit) = refusal(&g, target(&Environment::default()));
    assert!(what.contains("huge") && what.contains("parameters"), "{what}");
    assert_eq!((needs, allowed, limit), (9000 * 8192 * 4, 256 << 20, "max_buffer_size"));
}

#[test]
fn a_grid_that_does_not_fit_is_refused() {
    let mut g = Graph::new(vec![tensor("w", &[4, 1])], vec![]);
    let (x, w) = (g.input(0, 4), g.param(0).unwrap());
    let y = g.matmul(x, w, false, false).unwrap();
    g.sink(Sink::Output(0), y);
    let limits = Limits { workgroups: 3, ..Limits::DEFAULT };
    let tile = Some(Tile::Shared { rows: 8, quads: 2, side: 8 });
    let (what, needs, allowed, limit) =
        refusal(&g, Target { limits, tile, rows: 1000, ..target(&Environment::default()) });
    assert!(what.contains("matmul"), "{what}");
    assert_eq!((needs, allowed, limit), (6, 3, "max_compute_workgroups_per_dimension"));
}

/// More values than one dispatch may read are no reason to refuse a graph: they are read by several, whether the
/// result is kept or only reduced.
#[test]
fn many_inputs_are_read_by_several_dispatches() {
    let params: Vec<Tensor> = (0..12).map(|i| tensor(&format!("t{i}"), &[6, 5])).collect();
    let env = Environment {
        rows: 1,
        params: (0..12).map(|i| values(i, 30, (-1.0, 1.0))).collect(),
        ..Environment::default()
    };
    for kept in [true, false] {
        let mut g = Graph::new(params.clone(), vec![]);
        let p: Vec<_> = (0..12).map(|i| g.param(i).unwrap()).collect();
        let mut sum = p[0];
        for &next in &p[1..] {
            sum = g.map([sum, next], |[a, b]| a * 0.5 + b.tanh()).unwrap();
        }
        let reduced = g.sum(Over::Columns, sum);
        g.sink(Sink::Output(0), reduced);
        if kept {
            g.sink(Sink::Output(1), sum);
        }
        check_replay(&g, &env, target(&env), &format!("kept {kept}"));
    }
}

/// One expression may name more tensors than a dispatch can bind, and its derivatives name more still.
#[test]
fn a_map_of_many_tensors_is_computed_by_several() {
    let gpu = gpu();
    let dims: [&[usize]; 3] = [&[4, 5], &[5], &[4, 1]];
    let params: Vec<Tensor> = (0..12).map(|i| tensor(&format!("t{i}"), dims[i % 3])).collect();
    let drawn = (0..).zip(&params).map(|(i, t)| values(i, t.shape.elements(1), (-1.0, 1.0))).collect();
    let env = Environment { rows: 1, params: drawn, seed: 9, ..Environment::default() };
    let x = Expr::input;
    let sum =
        |from: usize, to: usize| (from..to).fold(Expr::constant(0.5), |sum, i| sum + x(i).sin() * x((i + 5) % to));
    let exprs = [
        ("a sum of products", sum(0, 12), 12),
        ("one too many", sum(0, 7), 7),
        ("two halves", sum(0, 8).tanh() / (2.0 + sum(4, 12).square()), 12),
        ("a choice", sum(0, 3).select(Compare::Less, &sum(2, 6), sum(5, 9), x(10).exp() - x(11)), 12),
        ("through its output", Expr::through_output(sum(0, 9).tanh(), &sum(0, 9), |y| 1.0 - y.square()), 9),
        ("with draws", sum(0, 9) * Expr::random(Distribution::Uniform, 3) / Expr::rows(), 9),
    ];
    for (what, expr, count) in exprs {
        let mut g = Graph::new(params.clone(), vec![]);
        let p: Vec<_> = (0..count).map(|i| g.param(i).unwrap()).collect();
        let wide = g.map_expr(expr, &p).unwrap();
        g.sink(Sink::Output(0), wide);
        let squares = g.map([wide], |[w]| w.square()).unwrap();
        let loss = g.sum_all(squares);
        g.term("loss", loss);
        let gradients = g.gradient(loss, &p).unwrap();
        gradients.into_iter().enumerate().for_each(|(i, d)| g.sink(Sink::Gradient(i), d));
        for optimise in [true, false] {
            for storage_buffers in [5, 6, 7] {
                let target = Target { optimise, ..target(&env) };
                let limits = Limits { storage_buffers, ..target.limits };
                check_replay(&g, &env, Target { limits, ..target }, &format!("{what}, {storage_buffers} buffers"));
            }
        }
        let target = Target { kind: gpu.kind(), limits: gpu.limits(), ..target(&env) };
        for (sink, found, expected) in both(&gpu, &g, target, &env) {
            assert!(squared_error(&found, &expected) < 1e-11, "{what}: {sink:?}: {found:?} against {expected:?}");
        }
    }
    // An update binds the flags and what it replaces as well.
    let mut g = Graph::new(params.clone(), vec![tensor("c", &[1024])]).with_scalars(scalars());
    let mut read: Vec<_> = [
        Set::FIRST.arena(Kept::Gradients),
        Set::FIRST.arena(Kept::First(0)),
        Set::FIRST.arena(Kept::Second(0)),
        Set::FIRST.arena(Kept::Best),
    ]
    .map(|a| g.arena(a))
    .into();
    read.push(g.constant(0).unwrap());
    read.push(g.scalar("first").unwrap());
    let new = g.map_expr(sum(0, 6), &read).unwrap();
    g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
    let length = Layout::new(&params).bytes as usize / 4;
    let arenas = [
        Set::FIRST.arena(Kept::Values),
        Set::FIRST.arena(Kept::Gradients),
        Set::FIRST.arena(Kept::First(0)),
        Set::FIRST.arena(Kept::Second(0)),
        Set::FIRST.arena(Kept::Best),
    ];
    let arenas = (0..).zip(arenas).map(|(i, arena)| (arena, values(i, length, (-1.0, 1.0)))).collect();
    let env = Environment { arenas, constants: vec![values(30, 1024, (-1.0, 1.0))], table: vec![0.5; 4], ..env };
    check_replay(&g, &env, target(&env), "an update");
}

/// A product of a tensor with itself binds it twice.
#[test]
fn a_product_with_itself_leaves_room_for_the_limits() {
    let params: Vec<Tensor> = (0..12).map(|i| tensor(&format!("t{i}"), &[5, 5])).collect();
    let mut g = Graph::new(params, vec![]);
    let p: Vec<_> = (0..12).map(|i| g.param(i).unwrap()).collect();
    let mut sum = g.matmul(p[0], p[0], false, true).unwrap();
    for &next in &p[1..] {
        sum = g.map([sum, next], |[a, b]| a * 0.5 + b.tanh()).unwrap();
    }
    g.sink(Sink::Output(0), sum);
    let env = Environment {
        rows: 1,
        params: (0..12).map(|i| values(i, 25, (-1.0, 1.0))).collect(),
        ..Environment::default()
    };
    check_replay(&g, &env, target(&env), "a product with itself");
}

/// Repetitions of small tensors are read through, but not so many that a dispatch could not bind them.
#[test]
fn many_small_tensors_are_read_by_several_dispatches() {
    let params: Vec<Tensor> =
        (0..12).map(|i| tensor(&format!("t{i}"), if i % 2 == 0 { &[6, 1] } else { &[5] })).collect();
    let mut g = Graph::new(params.clone(), vec![]);
    let p: Vec<_> = (0..12).map(|i| g.param(i).unwrap()).collect();
    let products: Vec<_> = p.chunks(2).map(|pair| g.map([pair[0], pair[1]], |[a, b]| a * b).unwrap()).collect();
    let sums: Vec<_> = products.chunks(3).map(|c| g.map([c[0], c[1], c[2]], |[a, b, c]| a + b - c).unwrap()).collect();
    let all = g.map([sums[0], sums[1]], |[a, b]| a.max(b)).unwrap();
    g.sink(Sink::Output(0), all);
    let drawn = (0..).zip(&params).map(|(i, t)| values(i, t.shape.elements(1), (-1.0, 1.0))).collect();
    let env = Environment { rows: 1, params: drawn, ..Environment::default() };
    check_replay(&g, &env, target(&env), "small");
}

/// A value that goes to several places, with columns that need padding in some of them; views of it and of a
/// hyperparameter.
#[test]
fn a_value_with_several_sinks() {
    let gpu = gpu();
    let mut g = Graph::new(vec![tensor("w", &[3, 5])], vec![]).with_scalars(scalars());
    let (w, rate) = (g.param(0).unwrap(), g.scalar("second").unwrap());
    let rate = g.view(rate, Shape::fixed(&[1, 1])).unwrap();
    let y = g.map([w, rate], |[w, r]| w.tanh() * r).unwrap();
    let flat = g.view(y, Shape::fixed(&[15])).unwrap();
    for (i, node) in [y, y, flat, flat, w, rate].into_iter().enumerate() {
        g.sink(Sink::Output(i), node);
    }
    g.sink(Sink::Gradient(0), y);
    let env = Environment {
        rows: 1,
        params: vec![values(1, 15, (-1.0, 1.0))],
        table: vec![0.5, 2.0, 3.0, 4.0],
        ..Environment::default()
    };
    for optimise in [true, false] {
        check_replay(&g, &env, Target { optimise, ..target(&env) }, &format!("optimise {optimise}"));
        let target = Target { kind: gpu.kind(), limits: gpu.limits(), optimise, ..target(&env) };
        for (sink, found, expected) in both(&gpu, &g, target, &env) {
            assert!(squared_error(&found, &expected) < 1e-13, "{sink:?}, optimise {optimise}: {found:?} {expected:?}");
        }
    }
}

/// Every value that a dispatch leaves in a slot, a gradient or a term is padded with zeros on the GPU, which the next
/// dispatch relies on. What lies there before is not zero.
#[test]
fn padding_is_zero_on_the_gpu() {
    let gpu = gpu();
    let mut padded = 0;
    for seed in 0..4 {
        let (graph, env) = random_graph(seed);
        let tile = Some(Tile::Registers { rows: 4, quads: 1 });
        let target = Target { kind: gpu.kind(), limits: gpu.limits(), tile, optimise: false, ..target(&env) };
        let recording = Recording::new(&graph, target).expect("a plan");
        let state = gpu.buffer("state", 64).unwrap();
        let count =
            env.data.len() / graph.nodes().find(|(_, n)| matches!(n.op, Op::Gather { .. })).unwrap().1.shape.columns();
        let now = State { count: count as u32, ..State::once(env.rows, env.seed) };
        gpu.write(&state, 0, bytemuck::bytes_of(&now)).unwrap();
        let program = Program::new(&gpu, &recording, &state, &BTreeMap::new()).expect("a program");
        for (role, bytes) in &recording.buffers {
            let poison = vec![-7.0f32; *bytes as usize / 4];
            gpu.write(program.buffer(*role).unwrap(), 0, bytemuck::cast_slice(&poison)).unwrap();
        }
        gpu.submit([Work::Run(&program)]).unwrap();
        for (id, place) in recording.dispatches.iter().flat_map(|d| &d.stores) {
            let shape = recording.graph.shape(*id);
            if matches!(place.role, Role::Output(_)) || shape.columns() == shape.stride() {
                continue;
            }
            let length = shape.matrix_rows(env.rows) * shape.stride();
            let found = gpu.read(program.buffer(place.role).unwrap(), place.offset as usize / 4, length).unwrap();
            for row in found.chunks(shape.stride()) {
                assert!(row[shape.columns()..].iter().all(|&v| v == 0.0), "seed {seed}, {id:?}: {row:?}");
                padded += 1;
            }
        }
    }
    assert!(padded > 80, "only {padded} rows are padded");
}
