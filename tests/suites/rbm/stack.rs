//! Stacks of machines as the beginning of deep autoencoders: against the machines one by one, and what is refused.

use std::ops::ControlFlow;

use super::data;
use crate::common::{gpu, values};
use strait::data::Weighted;
use strait::rbm::{Gibbs, Pretraining, Rbm, Units, pretrain};
use strait::train::{Progress, Ring, Run, Trainer, Update};
use strait::{Activation, Data, Error, Loss, Model, Optimizer, Scaling, Session, Spec, Training};

/// 6-5-4-3 of sigmoids with a linear code.
fn deep() -> Spec {
    Spec::symmetric(&[6, 5, 4, 3], Activation::Sigmoid).loss(Loss::Bernoulli)
}

/// Rows from 0 to 1 of six values.
fn rows() -> Data {
    Data::from_rows(6, values(3, 6 * 40, (0.0, 1.0))).unwrap()
}

/// Few steps of plain descent, so that rounding does not turn a coin.
fn options() -> Pretraining {
    let (optimizer, ramps) = (Optimizer::SGD, Default::default());
    Pretraining { epochs: 3, batch: 20, optimizer, ramps, learning_rate: 0.5, seed: 5, ..Pretraining::default() }
}

fn on(_: usize, _: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn begun(spec: &Spec, options: &Pretraining) -> Model {
    pretrain(&gpu(), spec, rows(), options, on).unwrap()
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// W, b and a of machines that are trained one by one, each with a run of its own, on what the model of the one below encodes.
fn one_by_one(machines: &[Rbm], options: &Pretraining, rates: &[f64]) -> Vec<Vec<f32>> {
    let (mut rows, mut found) = (rows(), Vec::new());
    for (l, (rbm, &learning_rate)) in machines.iter().zip(rates).enumerate() {
        let seed = options.seed + l as u64;
        let update = Update { optimizer: options.optimizer, ..Update::adam([Rbm::PARAMETERS], learning_rate) };
        let mut trainer = Trainer::new(&gpu(), rbm.run(options.batch, options.epochs, update, seed).unwrap()).unwrap();
        trainer.set_parameters(&start(rbm, seed)).unwrap();
        trainer.fit(&rows).unwrap();
        let parameters = trainer.parameters().unwrap();
        let means = rbm.model(&gpu(), &parameters).unwrap().encode(rows.values()).unwrap();
        rows = Data::from_rows(rbm.hidden, means).unwrap();
        found.extend(parameters.into_iter().take(3));
    }
    found
}

/// Ten times the weights of a machine by itself.
fn start(rbm: &Rbm, seed: u64) -> Vec<Vec<f32>> {
    let mut start = rbm.initial(seed).unwrap();
    start[0].iter_mut().for_each(|w| *w *= 10.0);
    start
}

fn transposed(w: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| w.iter().skip(c).step_by(columns).copied()).collect()
}

#[test]
fn a_stack_is_its_machines_one_by_one() {
    let normals = Spec { loss: Loss::SquaredError, ..deep().code_activation(Activation::Sigmoid) };
    for (spec, kinds, gibbs) in [
        (deep(), [Units::Bernoulli, Units::Gaussian], Gibbs::default()),
        (deep().tied(), [Units::Bernoulli, Units::Gaussian], Gibbs::Persistent { steps: 2, chains: 8 }),
        (normals, [Units::Gaussian, Units::Bernoulli], Gibbs::Contrastive { steps: 2 }),
    ] {
        let options = Pretraining { gibbs, normal_learning_rate: 0.02, weight_decay: 0.01, ..options() };
        let [first, code] = kinds;
        let machine = |visible: usize, hidden: usize| Rbm {
            gibbs,
            visible_means: true,
            weight_decay: 0.01,
            ..Rbm::new(visible, hidden)
        };
        let machines =
            [Rbm { visible_units: first, ..machine(6, 5) }, machine(5, 4), Rbm { hidden_units: code, ..machine(4, 3) }];
        let rate = |units: Units| if units == Units::Gaussian { 0.02 } else { 0.5 };
        let expected = one_by_one(&machines, &options, &[rate(first), 0.5, rate(code)]);
        let model = begun(&spec, &options);
        for (l, tensors) in expected.chunks(3).enumerate() {
            let own = |name: &str| model.parameter(name).unwrap();
            let (up, down) = (format!("encoder.{l}"), format!("decoder.{}", 2 - l));
            assert!(close(&own(&format!("{up}.weight")), &tensors[0]), "{gibbs:?}: W of machine {l}");
            assert!(close(&own(&format!("{up}.bias")), &tensors[1]), "{gibbs:?}: b of machine {l}");
            assert!(close(&own(&format!("{down}.bias")), &tensors[2]), "{gibbs:?}: a of machine {l}");
            assert!(
                !close(&tensors[0], &start(&machines[l], options.seed + l as u64)[0]),
                "{gibbs:?}: machine {l} learned"
            );
            match spec.tied {
                true => assert!(model.parameter(&format!("{down}.weight")).is_err()),
                false => {
                    let wanted = transposed(&tensors[0], machines[l].hidden);
                    assert!(close(&own(&format!("{down}.weight")), &wanted), "{gibbs:?}: W' of machine {l}");
                }
            }
        }
    }
}

#[test]
fn it_is_a_function_of_the_seed() {
    let all = |model: &Model| model.parameters().unwrap();
    let [first, again, other] = [5, 5, 6].map(|seed| all(&begun(&deep(), &Pretraining { seed, ..options() })));
    assert!(first == again && first != other);
}

/// Breaking off in the second machine leaves the third one as it starts; nothing of the first is lost.
#[test]
fn it_can_be_broken_off() {
    let (spec, options) = (deep(), options());
    let whole = begun(&spec, &options);
    let mut told = Vec::new();
    let model = pretrain(&gpu(), &spec, rows(), &options, |layer, progress| {
        told.push((layer, progress.terms[0].0.clone()));
        if layer == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let (model, last) = (model.unwrap(), told.last().unwrap());
    assert!(last.0 == 1 && last.1 == "encoder.1.reconstruction", "{last:?}");
    assert!(told.iter().any(|(layer, _)| *layer == 0));
    let same = |name: &str| model.parameter(name).unwrap() == whole.parameter(name).unwrap();
    assert!(same("encoder.0.weight") && !same("encoder.2.weight"));
    assert!(close(&model.parameter("encoder.2.weight").unwrap(), &start(&Rbm::new(4, 3), 7)[0]));
    assert!(model.parameter("encoder.2.bias").unwrap() == [0.0; 3]);
}

/// What no machine has starts as in a session; a session goes on from the model.
#[test]
fn what_no_machine_has_starts_as_ever() {
    let loss = Loss::Gaussian { sigma: 0.5, learned: true };
    let mut spec = Spec { loss, ..deep() };
    spec.decoder[2].activation = Activation::Sigmoid;
    let model = begun(&spec, &options());
    assert!((model.parameter("decoder.log_sigma").unwrap()[0] - 0.5f32.ln()).abs() < 1e-6);
    let mut session = Session::of(&model, Training { epochs: 1, batch: 20, ..Training::default() }).unwrap();
    assert_eq!(session.fit(rows()).unwrap().steps, 2);
}

/// Digits through 24 numbers: what the stack reconstructs before anything is fine-tuned is far nearer to them than their mean.
#[test]
fn a_stack_knows_more_than_the_mean() {
    let (train, test) = strait::data::digits().unwrap().split_at(1500).unwrap();
    let spec = Spec::symmetric(&[64, 48, 24], Activation::Sigmoid).code_activation(Activation::Sigmoid);
    let options = Pretraining { epochs: 15, learning_rate: 0.1, ..Pretraining::default() };
    let model = pretrain(&gpu(), &spec.loss(Loss::Bernoulli), &train, &options, on).unwrap();
    let found = model.reconstruct(test.values()).unwrap();
    let mut means = vec![0.0; 64];
    train.values().chunks(64).for_each(|row| means.iter_mut().zip(row).for_each(|(mean, v)| *mean += v / 1500.0));
    let error = |of: &dyn Fn(usize) -> f32| -> f64 {
        let each = test.values().iter().enumerate().map(|(at, v)| f64::from(of(at) - v).powi(2));
        each.sum::<f64>() / test.values().len() as f64
    };
    let (of_means, of_stack) = (error(&|at| means[at % 64]), error(&|at| found[at]));
    println!("{of_stack} beside {of_means}");
    assert!(of_stack < 0.5 * of_means, "{of_stack} beside {of_means}");
}

#[test]
fn what_is_no_stack_is_refused() {
    let refused = |spec: Spec, options: &Pretraining| match pretrain(&gpu(), &spec, rows(), options, on) {
        Err(Error::Spec { field, value, allowed, .. }) => [field, value, allowed],
        other => panic!("{other:?}"),
    };
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = deep();
        change(&mut spec);
        refused(spec, &options())
    };
    let found = with(&|spec| spec.encoder[1].activation = Activation::Relu);
    assert_eq!(found, ["encoder[1].activation", "relu", "sigmoid: its units are binary"]);
    let found = with(&|spec| spec.encoder[2].activation = Activation::Tanh);
    assert_eq!(found, ["encoder[2].activation", "tanh", "sigmoid, or identity: this is the code"]);
    let found = with(&|spec| spec.decoder[1].activation = Activation::Identity);
    assert_eq!(found, ["decoder[1].activation", "identity", "sigmoid, as the layer of the encoder"]);
    let found = with(&|spec| spec.decoder[0].units = 7);
    assert_eq!(found, ["decoder[0].units", "7", "4, the input of encoder[2], which it mirrors"]);
    let found = with(&|spec| drop(spec.decoder.remove(0)));
    assert_eq!(
        found,
        ["decoder (number of layers)", "2", "3, as many as the encoder has: each machine is one of both"]
    );
    let found = with(&|spec| spec.loss = Loss::Softmax { classes: 2 });
    assert_eq!(found[..2], ["loss", "softmax"]);
    let found = with(&|spec| {
        (spec.loss, spec.decoder[2].activation) = (Loss::Mse, Activation::Tanh);
    });
    assert_eq!(found, ["decoder[2].activation", "tanh", "sigmoid or identity: the mean of visible units"]);
    let found = with(&|spec| spec.scaling = Scaling::Unit);
    assert_eq!(found, ["scaling", "unit", "none: rows are scaled before they are given"]);
    let found = refused(deep().variational(1.0), &options());
    assert_eq!(found, ["latent", "gaussian", "deterministic: a machine's code is a mean"]);
    let found = with(&|spec| spec.unit_norm = true);
    assert_eq!(found[0], "unit_norm");
    // Normal on both sides.
    let found = refused(Spec::symmetric(&[6, 3], Activation::Sigmoid), &options());
    assert_eq!(found[..2], ["encoder[0].hidden_units", "gaussian"]);

    let place = |options: Pretraining| refused(deep(), &options)[0].clone();
    assert_eq!(place(Pretraining { learning_rate: 0.0, ..options() }), "learning_rate");
    assert_eq!(place(Pretraining { normal_learning_rate: f64::NAN, ..options() }), "normal_learning_rate");
    assert_eq!(place(Pretraining { weight_decay: -1.0, ..options() }), "encoder[0].weight_decay");
    assert_eq!(place(Pretraining { gibbs: Gibbs::Contrastive { steps: 0 }, ..options() }), "encoder[0].gibbs.steps");
    assert_eq!(place(Pretraining { batch: 0, ..options() }), "phases[\"encoder.0\"].batch");

    let outside = pretrain(&gpu(), &deep(), data(&[vec![0.0, 0.5, 1.0, 0.0, 0.0, 2.0]]), &options(), on);
    assert!(matches!(&outside, Err(Error::Data { place, .. }) if place.ends_with(": row 0, column 5")), "{outside:?}");
    let narrow = pretrain(&gpu(), &deep(), data(&[vec![0.5; 5]]), &options(), on);
    assert!(matches!(&narrow, Err(Error::Data { place, .. }) if place.ends_with(": columns")), "{narrow:?}");
}

/// What another run came to, or has not come to, is no stack's.
#[test]
fn a_model_is_made_of_the_run_s_own_tensors() {
    let (spec, options) = (deep(), Pretraining { gibbs: Gibbs::Persistent { steps: 1, chains: 4 }, ..options() });
    let run = options.run(&spec).unwrap();
    let phases: Vec<&str> = run.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(phases, ["encoder.0", "encoder.1", "encoder.2"]);
    let found = Trainer::new(&gpu(), run).unwrap().parameters().unwrap();
    let model = options.model(&gpu(), &spec, &found).unwrap();
    // W, b, a and chains of each; nothing is trained yet.
    assert!(model.parameter("encoder.1.weight").unwrap() == found[4]);
    assert!(model.parameter("decoder.1.weight").unwrap() == transposed(&found[4], 4));

    let refused = |change: &dyn Fn(&mut Vec<Vec<f32>>)| {
        let mut found = found.clone();
        change(&mut found);
        match options.model(&gpu(), &spec, &found) {
            Err(Error::Data { place, found, allowed, .. }) => [place, found, allowed],
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|found| drop(found.pop())), ["parameters", "11", "12 tensors"]);
    assert_eq!(refused(&|found| found[4].truncate(19)), ["encoder.1/encoder.0.weight", "19 values", "20 values"]);
    assert_eq!(refused(&|found| found[10][1] = f32::NAN), ["encoder.2/decoder.0.bias", "NaN", "finite numbers"]);
    assert_eq!(refused(&|found| found[11].truncate(15)), ["encoder.2 chains/chains", "15 values", "16 values"]);
    // Of the same spec, without chains.
    let other = Pretraining { gibbs: Gibbs::default(), ..options }.model(&gpu(), &spec, &found);
    assert!(matches!(&other, Err(Error::Data { allowed, .. }) if allowed == "9 tensors"), "{other:?}");
    let tanh = Spec::symmetric(&[6, 5, 4], Activation::Tanh);
    for refused in [options.run(&tanh).map(drop), options.model(&gpu(), &tanh, &found).map(drop)] {
        assert!(matches!(&refused, Err(Error::Spec { field, .. }) if field == "encoder[0].activation"), "{refused:?}");
    }
}

/// In the words of other runs that know of no weights: where the weight is a column too many, and where it would pass for a feature.
#[test]
fn rows_with_weights_are_refused() {
    let refused = |result: strait::Result<()>| match result {
        Err(Error::Data { place, found, allowed, .. }) => [place, found, allowed],
        other => panic!("{other:?}"),
    };
    let machine = |rbm: Rbm| rbm.run(4, 1, Update::adam([Rbm::PARAMETERS], 0.1), 0).unwrap();
    let normal = Rbm { visible_units: Units::Gaussian, ..Rbm::new(6, 4) };
    for features in [6, 5] {
        let rows = || {
            let rows = Data::from_rows(features, values(3, 4 * features, (0.0, 1.0))).unwrap();
            Weighted::new(rows, vec![1.0; 4]).unwrap()
        };
        let words = ["data: columns", "rows with weights", "rows without weights"];
        let greedy = Run::greedy(&deep(), &Training::default()).unwrap();
        for run in [greedy, machine(Rbm::new(6, 4)), machine(normal), options().run(&deep()).unwrap()] {
            assert_eq!(refused(Trainer::new(&gpu(), run).unwrap().load(rows())), words, "{features}");
        }
        assert_eq!(refused(pretrain(&gpu(), &deep(), rows(), &options(), on).map(drop)), words, "{features}");
        let ring = Ring::uniform(&gpu(), features + 1, 8).unwrap().weighted().unwrap();
        ring.push(&vec![0.5; 4 * (features + 1)]).unwrap();
        let mut trainer = Trainer::new(&gpu(), machine(normal)).unwrap();
        assert_eq!(refused(trainer.load(&ring)), ["pushed rows: columns", words[1], words[2]], "{features}");
    }
}

#[test]
fn its_options_are_plain_data() {
    let options: Pretraining = toml::from_str("epochs = 3\ngibbs = { contrastive = { steps = 2 } }").unwrap();
    assert_eq!(options, Pretraining { epochs: 3, gibbs: Gibbs::Contrastive { steps: 2 }, ..Pretraining::default() });
    assert_eq!(toml::from_str::<Pretraining>(&toml::to_string(&options).unwrap()).unwrap(), options);
    assert!(toml::from_str::<Pretraining>("epoch = 3").is_err());
}
