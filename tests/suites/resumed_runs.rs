//! Runs of phases, machines, stacks of machines and players that are broken off within phases, within turns and between them, and
//! go on in processes of their own, to the bits of a run that nobody stopped.

use std::ops::ControlFlow;

use crate::common::{gpu, squared_error, values};
use crate::own_process::{job, start};
use strait::internals::plan::AdapterKind;
use strait::model::{Ascent, Bound, Prior, Supervised};
use strait::rbm::{Gibbs, Pretraining, Rbm, pretrain};
use strait::train::{Adversary, Discriminator, Run, Trainer, Update};
use strait::{Activation, Data, Layer, Loss, Scaling, Spec, Training};

const TEST: &str = "resumed_runs::they_go_on_in_new_processes";
const INPUT: usize = 6;
const ROWS: usize = 23;
const CLASSES: usize = 3;

/// 6 steps of a model an epoch, the last one of 3 rows.
fn training() -> Training {
    Training { batch: 4, epochs: 3, learning_rate: 0.01, seed: 5, ..Training::default() }
}

/// Of [0, 1], as machines want them; with labels for those who classify.
fn data(name: &str) -> Data {
    let rows = Data::from_rows(INPUT, values(211, ROWS * INPUT, (0.0, 1.0))).unwrap();
    match name {
        "classifier" => {
            let labels = (0..ROWS).map(|row| (row * 7 % CLASSES) as u32).collect();
            rows.with_labels(labels).unwrap().labelled(CLASSES).unwrap()
        }
        _ => rows,
    }
}

fn hidden() -> Layer {
    Layer { activation: Activation::Tanh, ..Layer::new(4) }
}

/// Three machines, the last one with normal hidden units, with chains that go on. Momentum changes after the first of 18 steps of each.
fn stack() -> (Spec, Pretraining) {
    let spec = Spec::symmetric(&[INPUT, 5, 4, 3], Activation::Sigmoid).loss(Loss::Bernoulli);
    let Training { batch, epochs, seed, .. } = training();
    let gibbs = Gibbs::Persistent { steps: 2, chains: 5 };
    let options = Pretraining { gibbs, batch, epochs, seed, normal_learning_rate: 0.01, ..Pretraining::default() };
    (spec, options)
}

/// A run by its name.
fn run(name: &str) -> Run {
    let spec = Spec::symmetric(&[INPUT, 5, 4, 3], Activation::Elu).gaussian_corruption(0.1);
    let training = training();
    let (epochs, seed) = (training.epochs, training.seed);
    match name {
        "greedy" => Run::greedy(&spec.scaling(Scaling::Unit), &training).and_then(|run| run.then_fine_tune(&training)),
        "classifier" => {
            let labelled = Spec { supervised: Some(Supervised { classes: CLASSES, weight: 1.0 }), ..spec };
            Run::classifier(&labelled, &["encoder.0"], &training)
        }
        "recirculation" => Run::recirculation(&Spec::symmetric(&[INPUT, 4], Activation::Sigmoid), 0.75, &training),
        "machine" => {
            let machine = Rbm { gibbs: Gibbs::Persistent { steps: 2, chains: 5 }, ..Rbm::new(INPUT, 4) };
            machine.run(4, epochs, Update::adam([Rbm::PARAMETERS], 0.01), seed)
        }
        "stack" => {
            let (spec, options) = stack();
            options.run(&spec)
        }
        "codes" => Run::adversarial(&spec, &Discriminator::new(Prior::Normal, [hidden()]), &training),
        "ascent" => {
            let ascent = Ascent { bound: Bound::Two(0.2), steps: 2, length: 0.1 };
            Run::against(&spec, &Adversary::Ascent(ascent), &training)
        }
        "network" => Run::against(&spec, &Adversary::network(Bound::Infinity(0.1), [hidden()]), &training),
        other => panic!("{other}"),
    }
    .unwrap()
}

/// What a run has come to: all of its tensors, and of a stack those of the autoencoder that begins with it.
fn tensors(name: &str, trainer: &Trainer) -> Vec<f32> {
    let found = trainer.parameters().unwrap();
    match name {
        "stack" => {
            let (spec, options) = stack();
            options.model(&gpu(), &spec, &found).unwrap().parameters().unwrap().concat()
        }
        _ => found.concat(),
    }
}

/// Takes all phases that are left.
fn finished(name: &str, mut trainer: Trainer) -> Vec<f32> {
    while trainer.phase().is_some() {
        trainer.fit(data(name)).unwrap();
    }
    tensors(name, &trainer)
}

/// What a run comes to that nobody stops; of a stack that is the one call.
fn whole(name: &str) -> Vec<f32> {
    match name {
        "stack" => {
            let (spec, options) = stack();
            let model = pretrain(&gpu(), &spec, data(name), &options, |_, _| ControlFlow::Continue(()));
            model.unwrap().parameters().unwrap().concat()
        }
        _ => finished(name, Trainer::new(&gpu(), run(name)).unwrap()),
    }
}

#[test]
fn they_go_on_in_new_processes() {
    if let Some(job) = job() {
        let trainer = Trainer::resume(&gpu(), run(&job[0]), &job[1]).unwrap();
        assert_eq!(trainer.steps(), job[2].parse::<u64>().unwrap());
        return std::fs::write(&job[1], bytemuck::cast_slice(&finished(&job[0], trainer))).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    // After so many phases, and so many steps of the next one.
    for (name, stops) in [
        ("greedy", &[(0, 7), (1, 3), (2, 10), (3, 5)][..]),
        ("classifier", &[(0, 9)]),
        ("recirculation", &[(0, 8)]),
        ("machine", &[(0, 7)]),
        ("stack", &[(0, 7), (1, 1), (2, 10)]),
        ("codes", &[(0, 15), (0, 16)]),
        ("ascent", &[(0, 8)]),
        ("network", &[(0, 14), (0, 15)]),
    ] {
        let whole = whole(name);
        for &(phases, steps) in stops {
            let mut trainer = Trainer::new(&gpu(), run(name)).unwrap();
            for _ in 0..phases {
                trainer.fit(data(name)).unwrap();
            }
            trainer.load(data(name)).unwrap();
            assert_eq!(trainer.step(steps).unwrap().steps(), steps, "{name}");
            trainer.checkpoint(&path).unwrap();
            let (begun, taken) = (tensors(name, &trainer), trainer.steps());
            drop(trainer);
            start(TEST, &[name, path.to_str().unwrap(), &taken.to_string()]);
            let found: Vec<f32> = bytemuck::pod_collect_to_vec(&std::fs::read(&path).unwrap());
            let same = match gpu().kind() {
                AdapterKind::Software => found == whole,
                AdapterKind::Hardware => squared_error(&found, &whole) < 1e-8,
            };
            assert!(same && begun != whole, "{name}, after {phases} phases and {steps} steps");
        }
    }
}
