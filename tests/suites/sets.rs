//! Sets of tensors: what no step trains keeps its bytes, sets are clipped by one norm, players that take turns are two
//! models trained apart, and parameters that exceed a binding are spread over several sets.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{gpu, squared_error, values};
use crate::updates::OPTIMIZERS;
use strait::graph::{Arena, Graph, Kept, Set, Shape, Sink, Tensor, TensorSet};
use strait::internals::evaluator::Evaluator;
use strait::internals::graph::Layout;
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Limits, Recording, Role, Target};
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Activation, EarlyStopping, Error, Gpu, Optimizer, Session, Spec, Training, data};

const KEPT: [Kept; 4] = [Kept::Values, Kept::Gradients, Kept::First(0), Kept::Second(0)];

fn tensor(name: &str, dims: &[usize]) -> Tensor {
    Tensor { name: name.into(), shape: Shape::fixed(dims) }
}

fn three() -> Vec<TensorSet> {
    vec![
        TensorSet::new("outer", vec![tensor("a", &[5, 3]), tensor("b", &[7])]),
        TensorSet::new("inner", vec![tensor("c", &[2, 9])]),
        TensorSet::new("players", vec![tensor("d", &[4, 4]), tensor("e", &[1])]),
    ]
}

/// What each buffer of each set holds, by plain packing.
fn filled(sets: &[TensorSet], seed: u32) -> BTreeMap<Arena, Vec<f32>> {
    let mut arenas = BTreeMap::new();
    for (i, set) in sets.iter().enumerate() {
        for (j, kept) in KEPT.into_iter().enumerate() {
            let each = |t: &Tensor| {
                let low = if kept == Kept::Second(0) { 0.0 } else { -1.0 };
                values(seed + (10 * i + j) as u32, t.shape.elements(1), (low, 1.0))
            };
            let own: Vec<Vec<f32>> = set.tensors.iter().map(each).collect();
            arenas.insert(Set(i).arena(kept), Layout::new(&set.tensors).pack(&set.tensors, &own).unwrap());
        }
    }
    arenas
}

/// 1,000 steps of every optimizer, decay, momentum and clipping included: buffers of a set that is not among those that
/// are trained keep every bit, and those of the others change.
#[test]
fn a_set_that_no_step_trains_keeps_its_bytes() {
    let (gpu, sets) = (gpu(), three());
    let decaying = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    for optimizer in OPTIMIZERS.into_iter().chain([decaying]) {
        for clip in [None, Some(0.1)] {
            let update = optimizer.update(sets.clone(), &[Set(0), Set(2)], clip).unwrap();
            // Something that reads the frozen set, so that it lies in a buffer of the very same program.
            let mut graph = update.clone();
            let frozen = graph.param(2).unwrap();
            let sum = graph.sum_all(frozen);
            graph.sink(Sink::Output(0), sum);
            let evaluator = Evaluator::new(&gpu, &graph, 1).unwrap();
            let arenas = filled(&sets, 1);
            for (arena, values) in &arenas {
                evaluator.arena(*arena, values).unwrap();
            }
            evaluator.table(&[1e-3, 1e-3, 1.0, 0.0]).unwrap();
            for _ in 0..1000 {
                evaluator.run(State::once(1, 0)).unwrap();
            }
            for (arena, before) in &arenas {
                let after = evaluator.kept(*arena).unwrap();
                // What is no part of the program cannot have been written by it.
                let same = after.is_none_or(|after| after.iter().zip(before).all(|(a, b)| a.to_bits() == b.to_bits()));
                match (arena.set, arena.kept) {
                    (Set(1), _) | (_, Kept::Gradients) => assert!(same, "{optimizer:?}, clip {clip:?}, {arena:?}"),
                    (_, Kept::Values) => assert!(!same, "{optimizer:?}, clip {clip:?}, {arena:?}"),
                    _ => {}
                }
            }
        }
    }
}

/// The gradients of two sets are clipped by the norm of both: against plain f64.
#[test]
fn sets_are_clipped_by_one_norm() {
    let (gpu, sets, clip) = (gpu(), three(), 0.5f64);
    let arenas = filled(&sets, 3);
    let trained = [Set(0), Set(1)];
    let squares = |set: &Set| arenas[&set.arena(Kept::Gradients)].iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
    let norm = trained.iter().map(squares).sum::<f64>().sqrt();
    assert!(norm > clip);
    let graph = Optimizer::SGD.update(sets, &trained, Some(clip)).unwrap();
    let evaluator = Evaluator::new(&gpu, &graph, 1).unwrap();
    for (arena, values) in &arenas {
        evaluator.arena(*arena, values).unwrap();
    }
    evaluator.table(&[0.25, 0.25, 1.0, 0.0]).unwrap();
    evaluator.run(State::once(1, 0)).unwrap();
    for set in trained {
        let [p, g] = [Kept::Values, Kept::Gradients].map(|kept| &arenas[&set.arena(kept)]);
        let new = evaluator.kept(set.arena(Kept::Values)).unwrap().unwrap();
        for ((new, p), g) in new.iter().zip(p).zip(g) {
            let wanted = f64::from(*p) - 0.25 * f64::from(*g) * (clip / (norm + 1e-6));
            assert!((f64::from(*new) - wanted).abs() < 1e-6, "{set:?}: {new} against {wanted}");
        }
    }
}

/// Gradients of several sets in one graph, and a graph that reads another's buffer, as the interpreter computes them.
#[test]
fn gradients_go_to_their_own_sets() {
    let sets = vec![
        TensorSet::new("encoder", vec![tensor("w", &[6, 3])]),
        TensorSet::new("decoder", vec![tensor("v", &[3, 6])]),
    ];
    let mut g = Graph::with_sets(sets, vec![]);
    let x = g.input(0, 6);
    let (w, v) = (g.param(0).unwrap(), g.param(1).unwrap());
    let h = g.matmul(x, w, false, false).unwrap();
    let r = g.matmul(h, v, false, false).unwrap();
    let rows = g.map([r, x], |[r, x]| (r - x).square()).unwrap();
    let loss = g.batch_mean(rows).unwrap();
    let gradients = g.gradient(loss, &[w, v]).unwrap();
    g.term("loss", loss);
    g.sink(Sink::Gradient(0), gradients[0]);
    g.sink(Sink::Gradient(1), gradients[1]);
    let params = vec![values(1, 18, (-1.0, 1.0)), values(2, 18, (-1.0, 1.0))];
    let env = Environment { rows: 4, inputs: vec![values(3, 24, (-1.0, 1.0))], params, ..Environment::default() };
    let exact = evaluate(&g, &env).unwrap();
    let evaluator = Evaluator::new(&gpu(), &g, 4).unwrap();
    evaluator.params(&env.params).unwrap();
    evaluator.input(0, &env.inputs[0]).unwrap();
    evaluator.run(State::once(4, 0)).unwrap();
    let roles: Vec<Role> = evaluator.recording().buffers.iter().map(|(role, _)| *role).collect();
    for i in 0..2 {
        assert!(roles.contains(&Role::Arena(Set(i).arena(Kept::Gradients))), "{roles:?}");
        let wanted = env.sink(&g, &exact, Sink::Gradient(i)).unwrap();
        for (found, wanted) in evaluator.sink(Sink::Gradient(i), 4).unwrap().iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{i}: {found} against {wanted}");
        }
    }
}

/// Padding is somewhere else in another set: what is made of its values is not zero there of itself.
#[test]
fn an_update_made_of_another_sets_buffer_keeps_its_own_padding() {
    let sets = vec![TensorSet::new("a", vec![tensor("p", &[3, 5])]), TensorSet::new("b", vec![tensor("q", &[3, 8])])];
    let mut g = Graph::with_sets(sets.clone(), vec![]);
    let (p, q) = (g.arena(Set(0).arena(Kept::Values)), g.arena(Set(1).arena(Kept::Values)));
    let new = g.map([p, q], |[p, q]| p + q).unwrap();
    g.sink(Sink::Update(Set(0).arena(Kept::Values)), new);
    let arenas = filled(&sets, 5);
    let env = Environment { rows: 1, arenas: arenas.clone(), ..Environment::default() };
    let exact = evaluate(&g, &env).unwrap();
    let evaluator = Evaluator::new(&gpu(), &g, 1).unwrap();
    for (arena, values) in &arenas {
        evaluator.arena(*arena, values).unwrap();
    }
    evaluator.run(State::once(1, 0)).unwrap();
    let found = evaluator.kept(Set(0).arena(Kept::Values)).unwrap().unwrap();
    assert_eq!(found, env.sink(&g, &exact, Sink::Update(Set(0).arena(Kept::Values))).unwrap());
    for row in found[..24].chunks(8) {
        assert_eq!(row[5..], [0.0; 3], "padding of rows of five columns");
    }
    assert!(found[24..].iter().all(|&v| v == 0.0), "what no tensor has");
}

#[test]
fn unknown_sets_are_refused_by_name() {
    let unknown = |result: strait::Result<Graph>| match result {
        Err(Error::Spec { field, value, allowed, .. }) => (field, value, allowed),
        other => panic!("{other:?}"),
    };
    let found = unknown(Optimizer::ADAM.update(three(), &[Set(3)], None));
    assert_eq!(found, ("set".into(), "3".into(), "below 3".into()));
    let mut g = Graph::with_sets(three(), vec![]);
    let zero = g.fill(0.0, Layout::new(&[]).matrix());
    g.sink(Sink::Update(Set(9).arena(Kept::First(0))), zero);
    assert_eq!(unknown(g.check().map(|()| g.clone())).0, "set");
}

/// 4,096 -> 65,536 -> 4,096, untied, is more than one binding of 2^31 - 1 bytes.
#[test]
fn parameters_beyond_one_binding_are_spread_over_sets() {
    let spec = Spec::symmetric(&[4096, 65_536], Activation::Relu);
    let network = Network::new(&spec).unwrap();
    let sets = network.sets();
    assert_eq!(sets.len(), 2);
    let most = (1u64 << 31) - 1;
    for set in &sets {
        assert!(Layout::new(&set.tensors).bytes <= most);
    }
    let names = |set: &TensorSet| set.tensors.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sets[0]), ["encoder.0.weight", "encoder.0.bias"]);
    let limits = Limits { binding_bytes: most, buffer_bytes: most, ..Limits::DEFAULT };
    let (kind, quick, optimise, tile, tuning) = (AdapterKind::Hardware, false, true, None, None);
    let target = Target { kind, limits, rows: 1024, data_rows: 10_000, tile, tuning, quick, optimise };
    for purpose in [Purpose::Train, Purpose::Evaluate, Purpose::Encode, Purpose::Reconstruct] {
        Recording::new(&network.graph(purpose, true).unwrap(), target.clone()).unwrap();
    }
    for optimizer in OPTIMIZERS {
        for clip in [None, Some(1.0)] {
            let update = optimizer.update(sets.clone(), &[Set(0), Set(1)], clip).unwrap();
            Recording::new(&update, target.clone()).unwrap();
        }
    }
}

/// A device that binds at most so many bytes.
pub(crate) fn narrow(bytes: u64) -> Gpu {
    let adapter = pollster::block_on(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        instance.enumerate_adapters(wgpu::Backends::PRIMARY).await.remove(0)
    });
    let required_limits = wgpu::Limits { max_storage_buffer_binding_size: bytes, ..wgpu::Limits::default() };
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Gpu::adopt(device, queue)
}

/// A model whose parameters lie in several sets learns the same as one whose parameters lie in one, and so does either from
/// the checkpoint of the other: to the bit on software adapters, since no sum changes. A GPU's compiler rounds what it finds
/// in one kernel otherwise than in two, and devices that bind less have other kernels.
#[test]
fn a_model_in_several_sets_is_the_same_model() {
    let (wide, narrow) = (gpu(), narrow(80 << 10));
    let spec = Spec::symmetric(&[64, 256, 8], Activation::Tanh);
    let (train, test) = data::digits().unwrap().split_at(300).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let early = EarlyStopping { validation: 0.2, patience: 5, min_delta: 0.0 };
    let options = Training { epochs: 3, batch: 40, early_stopping: Some(early), ..Training::default() };
    let begun = |gpu: &Gpu, file: &Path| {
        let mut session = Session::new(gpu, &spec, options).unwrap();
        session.load(train.clone()).unwrap();
        session.step(7).unwrap();
        session.checkpoint(file).unwrap();
    };
    let ended = |mut session: Session| {
        session.fit(train.clone()).unwrap();
        let one = session.parameter("decoder.1.weight").unwrap();
        let params = session.parameters().unwrap();
        assert_eq!(one, params[session.tensors().iter().position(|t| t.name == "decoder.1.weight").unwrap()]);
        [params.concat(), session.reconstruct(test.values()).unwrap()]
    };
    let same = |found: [Vec<f32>; 2], whole: &[Vec<f32>; 2], exact: bool| match exact {
        true => found == *whole,
        false => found.iter().zip(whole).all(|(found, whole)| squared_error(found, whole) < 1e-8),
    };
    let whole = ended(Session::new(&wide, &spec, options).unwrap());
    let files = [&wide, &narrow].map(|gpu| {
        let file = folder.path().join(format!("{:?}", gpu.limits().binding_bytes));
        begun(gpu, &file);
        file
    });
    for (gpu, exact) in [(&wide, true), (&narrow, wide.kind() == AdapterKind::Software)] {
        assert!(same(ended(Session::new(gpu, &spec, options).unwrap()), &whole, exact), "exact: {exact}");
        for (file, own) in files.iter().zip([true, wide.kind() == AdapterKind::Software]) {
            assert!(same(ended(Session::resume(gpu, file).unwrap()), &whole, exact && own), "{file:?}, exact: {exact}");
        }
    }
}
