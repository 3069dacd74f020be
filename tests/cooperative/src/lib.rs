//! Cooperative matrices, on an adapter that has them for numbers of 16 bits: as a host would, the suite asks for them and
//! lets strait adopt the device. Every product, gradients and training are held against what is known to be right.
#![cfg(test)]

#[path = "../../suites/common.rs"]
mod common;
mod device;

use std::time::Duration;

use common::{both, squared_error, values};
use device::{cooperative, devices, gpu};
use strait::graph::{Graph, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::plan::{Recording, Target};
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Activation, Error, Gpu, Loss, Penalty, Precision, Session, Spec, Training, data};

#[test]
fn products_are_those_of_the_interpreter() {
    let gpu = gpu();
    let tile = cooperative(&gpu);
    let shapes = [(1, 1, 1), (3, 5, 7), (8, 17, 9), (33, 31, 63), (64, 64, 64), (130, 70, 131), (37, 299, 901)];
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for (m, k, n) in shapes {
            let what = format!("{ta} {tb} {m}x{k}x{n}");
            let [a, b] = [if ta { [k, m] } else { [m, k] }, if tb { [n, k] } else { [k, n] }];
            let tensor = |name: &str, dims: [usize; 2]| Tensor { name: name.into(), shape: Shape::fixed(&dims) };
            let mut g = Graph::new(vec![tensor("a", a), tensor("b", b), tensor("bias", [1, n])], vec![]);
            let [a, b, bias] = [0, 1, 2].map(|i| g.param(i).unwrap());
            let product = g.matmul(a, b, ta, tb).unwrap();
            let biased = g.map([product, bias], |[z, b]| (z + b).tanh()).unwrap();
            g.sink(Sink::Output(0), product);
            g.sink(Sink::Output(1), biased);
            let g = g.halved();
            let params = vec![values(1, m * k, (-1.0, 1.0)), values(2, k * n, (-1.0, 1.0)), values(3, n, (-1.0, 1.0))];
            let env = Environment { rows: 1, params, ..Environment::default() };
            for optimise in [true, false] {
                let target = Target { tile: Some(tile), optimise, ..Target::of(&gpu, 1) };
                let used = Recording::new(&g, target.clone()).unwrap().products();
                assert!(used.len() == 1 && used[0].1 == tile, "{what}: {used:?}");
                for (sink, found, expected) in both(&gpu, &g, target, &env) {
                    let error = squared_error(&found, &expected);
                    assert!(error <= 1e-12, "{what}, {sink:?}: normalised squared error {error:e}");
                }
            }
        }
    }
}

/// Factors that are not in half precision keep the tiles they had.
#[test]
fn other_products_are_left_alone() {
    let gpu = gpu();
    let spec = Spec::symmetric(&[6, 9, 4], Activation::Tanh);
    let graph = Network::new(&spec).unwrap().graph(Purpose::Train, false).unwrap();
    let products = |tile| Recording::new(&graph, Target { tile, ..Target::of(&gpu, 13) }).unwrap().products();
    assert_eq!(products(Some(cooperative(&gpu))), products(None));
}

/// Gradients of whole models beside those of the same graph in f64, where what is rounded to 16 bits is rounded too.
#[test]
fn gradients_are_those_of_the_graph() {
    let gpu = gpu();
    let tile = cooperative(&gpu);
    let base = || Spec::symmetric(&[6, 9, 4], Activation::Tanh).code_activation(Activation::Sigmoid);
    let systems = [
        base(),
        base().loss(Loss::Bernoulli).tied(),
        base().penalty(Penalty::KlSparsity { weight: 0.1, rho: 0.2, layer: None }),
        base().gaussian_corruption(0.3).weight_decay(0.1),
        base().code_activation(Activation::Identity).variational(0.5),
    ];
    for (i, spec) in systems.into_iter().enumerate() {
        let network = Network::new(&spec.precision(Precision::F16)).unwrap();
        let graph = network.graph(Purpose::Train, false).unwrap();
        let own = network.params().iter().enumerate();
        let params = own.map(|(i, t)| values(10 + i as u32, t.shape.elements(1), (-0.7, 0.7))).collect();
        let env = Environment { rows: 40, data: values(1, 240, (0.0, 1.0)), params, seed: 5, ..Environment::default() };
        let target = Target { tile: Some(tile), data_rows: 40, ..Target::of(&gpu, 40) };
        let used = Recording::new(&graph, target.clone()).unwrap().products();
        assert!(used.iter().all(|(_, used)| *used == tile), "{used:?}");
        let evaluator = Evaluator::with_target(&gpu, &graph, target).unwrap();
        evaluator.data(&env.data).unwrap();
        evaluator.params(&env.params).unwrap();
        evaluator.run(State { count: 40, ..State::once(40, 5) }).unwrap();
        let wide = Environment {
            rows: 40,
            data: env.data.iter().map(|&v| f64::from(v)).collect(),
            params: env.params.iter().map(|p| p.iter().map(|&v| f64::from(v)).collect()).collect(),
            seed: 5,
            ..Environment::default()
        };
        let expected = evaluate(&graph, &wide).unwrap();
        for p in 0..network.params().len() {
            let sink = Sink::Gradient(p);
            let expected: Vec<f32> = wide.sink(&graph, &expected, sink).unwrap().iter().map(|&v| v as f32).collect();
            let error = squared_error(&evaluator.sink(sink, 40).unwrap(), &expected).sqrt();
            // A value between two numbers of 16 bits may be rounded the other way, and all that follows with it.
            assert!(error < 1e-3, "model {i}, parameter {p}: {error:e}");
        }
    }
}

#[test]
fn digits_train_as_well_as_with_other_tiles() {
    let gpu = gpu();
    let tile = cooperative(&gpu);
    let loss = |tuned: bool| {
        let spec = Spec::symmetric(&[64, 32, 8], Activation::Elu).precision(Precision::F16);
        let training = Training { batch: 64, epochs: 8, learning_rate: 3e-3, ..Training::default() };
        let mut session = Session::new(&gpu, &spec, training).unwrap();
        session.load(data::digits().unwrap()).unwrap();
        if tuned {
            let graph = Network::new(&spec).unwrap().graph(Purpose::Train, true).unwrap();
            let products = Recording::new(&graph, Target::of(&gpu, 64)).unwrap().products();
            let tiles = products.into_iter().map(|(product, _)| (product, tile)).collect();
            session.use_tuning(strait::train::Tuning { tiles }).unwrap();
        }
        session.fit(data::digits().unwrap()).unwrap();
        session.evaluate(data::digits().unwrap()).unwrap().loss
    };
    let (plain, cooperative) = (loss(false), loss(true));
    assert!((cooperative / plain - 1.0).abs() < 0.03, "{cooperative} against {plain}");
}

/// Tuning tries them, and a device that was adopted without them refuses such a tuning by name.
#[test]
fn they_are_tried_where_they_may_be_used() {
    let gpu = gpu();
    let spec = Spec::symmetric(&[40, 24], Activation::Tanh).precision(Precision::F16);
    let mut session = Session::new(&gpu, &spec, Training::default()).unwrap();
    let trials = session.tune(Duration::from_secs(60)).unwrap();
    assert!(!trials.0.is_empty());
    assert!(trials.0.iter().all(|trial| trial.seconds(cooperative(&gpu)).is_some()), "{trials}");
    let (_, device, queue) = devices();
    let plain = Gpu::adopt(device, queue);
    assert_eq!(plain.limits().cooperative, 0);
    let product = trials.0[0].product;
    let tuning = strait::train::Tuning { tiles: [(product, cooperative(&gpu))].into() };
    let mut other = Session::new(&plain, &spec, Training::default()).unwrap();
    match other.use_tuning(tuning) {
        Err(Error::Spec { field, value, .. }) => assert!(field == "tuning" && value.contains("Cooperative"), "{value}"),
        found => panic!("{found:?}"),
    }
}
