//! Restricted Boltzmann machines against sums over all their states, in plain f64: energies, directions, chains, training.

mod chains;
mod stack;

use crate::common::{gpu, values};
use crate::theory::suite::boltzmann::{Machine, repeated, states};
use crate::theory::suite::forward::sigmoid;
use crate::theory::suite::linear::narrow;
use strait::rbm::{Gibbs, Rbm, Units};
use strait::train::{Ring, Run, Trainer, Update};
use strait::{Activation, Data, Error, Loss, Optimizer, Session, Training};

/// Free energies by the GPU.
fn energies(machine: &Machine, rows: &[Vec<f64>]) -> Vec<f32> {
    let rbm = machine.rbm(Gibbs::default());
    rbm.free_energies(&gpu(), &machine.parameters()).unwrap().of(&narrow(&rows.concat())).unwrap()
}

/// Plain descent.
fn descent(learning_rate: f64) -> Update {
    Update { optimizer: Optimizer::SGD, ..Update::adam([Rbm::PARAMETERS], learning_rate) }
}

fn data(rows: &[Vec<f64>]) -> Data {
    Data::from_rows(rows[0].len(), narrow(&rows.concat())).unwrap()
}

/// Takes one step and waits for its report.
fn step(trainer: &mut Trainer) -> Vec<(String, f64)> {
    assert_eq!(trainer.step(1).unwrap().steps(), 1);
    loop {
        trainer.gpu().wait().unwrap();
        if let Some(progress) = trainer.progress().unwrap() {
            return progress.terms;
        }
        std::thread::yield_now();
    }
}

/// The 14 bars and stripes of 3 x 3.
fn bars_and_stripes() -> Vec<Vec<f64>> {
    let bars = states(3).into_iter().map(|on| (0..9).map(|at| on[at % 3]).collect::<Vec<f64>>());
    let stripes = states(3).into_iter().map(|on| (0..9).map(|at| on[at / 3]).collect());
    // All off and all on are both.
    let all: Vec<Vec<f64>> = bars.chain(stripes.skip(1).take(6)).collect();
    assert_eq!(all.len(), 14);
    all
}

#[test]
fn free_energies_are_sums_over_hidden_states() {
    for machine in [
        Machine::drawn(5, 4, Units::Bernoulli, 2.0, 7),
        Machine::drawn(5, 4, Units::Gaussian, 2.0, 7),
        Machine::drawn(5, 2, Units::Bernoulli, 1.0, 7).with_normal_hidden(),
    ] {
        let units = [machine.visible_units, machine.hidden_units];
        let rows: Vec<Vec<f64>> = match machine.visible_units {
            Units::Gaussian => {
                values(50, 35, (-3.0, 3.0)).chunks(5).map(|v| v.iter().map(|&v| f64::from(v)).collect()).collect()
            }
            _ => states(5),
        };
        let found = energies(&machine, &rows);
        assert_eq!(found.len(), rows.len());
        for (found, v) in found.iter().zip(&rows) {
            let expected = machine.free_energy(v);
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                "{units:?}: {found}, {expected}"
            );
        }
    }
    // Softplus of 200 is 200, not infinity.
    let large = Machine {
        w: vec![100.0, -100.0],
        b: vec![100.0],
        a: vec![0.0; 2],
        ..Machine::drawn(2, 1, Units::Bernoulli, 1.0, 7)
    };
    let found = energies(&large, &[vec![1.0, 0.0], vec![0.0, 1.0]]);
    assert!((found[0] + 200.0).abs() < 1e-4 && (found[1] + 2f32.ln()).abs() < 1e-6, "{found:?}");
}

/// More rows than one evaluation takes are the same rows.
#[test]
fn many_rows_come_in_parts() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 2.0, 7);
    let all = narrow(&states(4).concat());
    let mut energies = machine.rbm(Gibbs::default()).free_energies(&gpu(), &machine.parameters()).unwrap();
    let (once, often) = (energies.of(&all).unwrap(), energies.of(&all.repeat(150)).unwrap());
    assert_eq!(often.len(), 2400);
    assert!(often.chunks(16).all(|part| part.iter().zip(&once).all(|(a, b)| (a - b).abs() < 1e-5)));
}

#[test]
fn free_energies_give_the_probabilities() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 1.5, 7);
    let (all, hidden) = (states(4), states(3));
    // By the sum over both kinds of units, without free energies.
    let joint = |v: &Vec<f64>| hidden.iter().map(|h| (-machine.energy(v, h)).exp()).sum::<f64>();
    let z: f64 = all.iter().map(joint).sum();
    let mut total = 0.0;
    for (v, energy) in all.iter().zip(energies(&machine, &all)) {
        let probability = (-f64::from(energy)).exp() / z;
        assert!((probability - joint(v) / z).abs() < 1e-6, "{v:?}: {probability}");
        let log = machine.log_likelihood(std::slice::from_ref(v));
        assert!((log - (joint(v) / z).ln()).abs() < 1e-12, "{v:?}: {log}");
        total += probability;
    }
    assert!((total - 1.0).abs() < 1e-5, "{total}");
}

/// The model of its autoencoder gives P(h = 1|v) and the mean of v given these.
#[test]
fn it_is_a_tied_autoencoder() {
    let (coins, normals) =
        (Machine::drawn(5, 3, Units::Bernoulli, 1.5, 7), Machine::drawn(5, 3, Units::Gaussian, 1.5, 7));
    let linear = Machine::drawn(5, 3, Units::Bernoulli, 1.5, 7).with_normal_hidden();
    for (machine, loss, code) in [
        (coins, Loss::Bernoulli, Activation::Sigmoid),
        (normals, Loss::Gaussian { sigma: 1.0, learned: false }, Activation::Sigmoid),
        (linear, Loss::Bernoulli, Activation::Identity),
    ] {
        let units = machine.visible_units;
        let rbm = machine.rbm(Gibbs::Persistent { steps: 1, chains: 2 });
        let spec = rbm.spec().unwrap();
        assert!(spec.tied && spec.loss == loss && spec.encoder[0].activation == code);
        let mut parameters = machine.parameters();
        parameters.push(vec![0.0; 10]);
        let model = rbm.model(&gpu(), &parameters).unwrap();
        let names: Vec<&str> = model.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["encoder.0.weight", "encoder.0.bias", "decoder.0.bias"]);
        let rows = states(5);
        let flat = narrow(&rows.concat());
        let close = |found: Vec<f32>, expected: Vec<f64>| {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f64::from(*f) - e).abs() < 1e-5)
        };
        let hidden: Vec<Vec<f64>> = rows.iter().map(|v| machine.hidden_given(v)).collect();
        let mean = |p: &Vec<f64>| match units {
            Units::Gaussian => machine.visible_given(p),
            _ => machine.visible_given(p).into_iter().map(sigmoid).collect::<Vec<f64>>(),
        };
        let means: Vec<Vec<f64>> = hidden.iter().map(mean).collect();
        assert!(close(model.encode(&flat).unwrap(), hidden.concat()), "{units:?}");
        assert!(close(model.reconstruct(&flat).unwrap(), means.concat()), "{units:?}");
    }
}

/// Mean directions of steps of rate 1 from the same parameters, each with draws of its own, and their standard errors.
fn directions(machine: &Machine, run: &Run, start: &[Vec<f32>], rows: &[Vec<f64>], draws: usize) -> Vec<(f64, f64)> {
    let mut trainer = Trainer::new(&gpu(), run.clone()).unwrap();
    trainer.load(data(rows)).unwrap();
    let total: f64 = machine.after(rows, 2).iter().sum();
    assert!((total - 1.0).abs() < 1e-10, "{total}: what is expected is a distribution");
    let flat = |tensors: &[Vec<f32>]| tensors[..3].concat().iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let begun = flat(&machine.parameters());
    let (mut sum, mut squares) = (vec![0.0; begun.len()], vec![0.0; begun.len()]);
    for _ in 0..draws {
        trainer.set_parameters(start).unwrap();
        step(&mut trainer);
        for (i, (before, after)) in begun.iter().zip(flat(&trainer.parameters().unwrap())).enumerate() {
            sum[i] += before - after;
            squares[i] += (before - after).powi(2);
        }
    }
    let count = draws as f64;
    let each = |(sum, squares): (f64, f64)| {
        let mean = sum / count;
        (mean, ((squares / count - mean * mean) / (count - 1.0)).max(0.0).sqrt())
    };
    sum.into_iter().zip(squares).map(each).collect()
}

/// Every component within 5 standard errors, or of what rounding leaves where nothing is drawn; and some components far from
/// what they must not be.
fn assert_mean(found: &[(f64, f64)], expected: &[f64], other: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, ((mean, error), expected)) in found.iter().zip(expected).enumerate() {
        assert!((mean - expected).abs() < 5.0 * error + 1e-6, "{what}, {i}: {mean} ± {error}, expected {expected}");
    }
    let far =
        found.iter().zip(other).filter(|((mean, error), other)| (mean - **other).abs() > 8.0 * error + 1e-6).count();
    assert!(far > 0, "{what}: as near to what it must not be");
}

#[test]
fn the_mean_direction_is_that_of_the_transition_matrix() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 1.5, 7);
    // Of 16 states these, so that chains have somewhere to go.
    let rows = repeated(&[3, 3, 5, 8].map(|i| states(4)[i].clone()), 64);
    for steps in [1, 3] {
        let run = machine.rbm(Gibbs::Contrastive { steps }).run(rows.len(), 200, descent(1.0), 9).unwrap();
        let found = directions(&machine, &run, &machine.parameters(), &rows, 150);
        // One step more or less is another direction.
        let (expected, other) = (machine.direction(&rows, steps), machine.direction(&rows, 4 - steps));
        assert_mean(&found, &expected, &other, &format!("CD-{steps}"));
    }
}

#[test]
fn the_mean_direction_of_normal_units_is_that_of_quadrature() {
    let machine = Machine::drawn(2, 3, Units::Gaussian, 1.2, 7);
    let rows = repeated(&[[0.5, -1.0], [2.0, 1.5], [-1.5, 0.25]].map(|row| row.to_vec()), 80);
    for steps in [1, 2] {
        let run = machine.rbm(Gibbs::Contrastive { steps }).run(rows.len(), 200, descent(1.0), 10).unwrap();
        let found = directions(&machine, &run, &machine.parameters(), &rows, 150);
        let (expected, other) = (machine.direction(&rows, steps), machine.direction(&rows, 3 - steps));
        assert_mean(&found, &expected, &other, &format!("normal units, CD-{steps}"));
    }
}

#[test]
fn the_mean_direction_of_normal_hidden_units_is_that_of_quadrature() {
    let machine = Machine::drawn(4, 2, Units::Bernoulli, 1.0, 7).with_normal_hidden();
    let rows = repeated(&[3, 3, 5, 8].map(|i| states(4)[i].clone()), 64);
    for steps in [1, 2] {
        let run = machine.rbm(Gibbs::Contrastive { steps }).run(rows.len(), 200, descent(1.0), 12).unwrap();
        let found = directions(&machine, &run, &machine.parameters(), &rows, 150);
        let (expected, other) = (machine.direction(&rows, steps), machine.direction(&rows, 3 - steps));
        assert_mean(&found, &expected, &other, &format!("normal hidden units, CD-{steps}"));
    }
}

/// With means of v: over all h that may be drawn given a row, and in a second step over all that may be drawn given the mean
/// that each leads to.
#[test]
fn the_mean_direction_of_visible_means_is_a_sum_over_h() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 2.0, 7);
    let rows = repeated(&[3, 3, 5, 8].map(|i| states(4)[i].clone()), 64);
    let hidden = states(3);
    let onward = |ends: &[(f64, Vec<f64>)]| -> Vec<(f64, Vec<f64>)> {
        let mean = |h: &Vec<f64>| machine.visible_given(h).into_iter().map(sigmoid).collect();
        let given = |(p, v): &(f64, Vec<f64>)| -> Vec<(f64, Vec<f64>)> {
            hidden.iter().map(|h| (p * machine.probability(h, v), mean(h))).collect()
        };
        ends.iter().flat_map(given).collect()
    };
    let begun: Vec<(f64, Vec<f64>)> = rows.iter().map(|v| (1.0 / rows.len() as f64, v.clone())).collect();
    let once = onward(&begun);
    let twice = onward(&once);
    let direction = |ends: &[(f64, Vec<f64>)]| -> Vec<f64> {
        let (p, v): (Vec<f64>, Vec<Vec<f64>>) = ends.iter().cloned().unzip();
        let data = machine.mean_slope(&rows, &vec![1.0 / rows.len() as f64; rows.len()]);
        data.iter().zip(machine.mean_slope(&v, &p)).map(|(data, model)| data - model).collect()
    };
    for (steps, expected) in [(1, direction(&once)), (2, direction(&twice))] {
        let rbm = Rbm { visible_means: true, ..machine.rbm(Gibbs::Contrastive { steps }) };
        let run = rbm.run(rows.len(), 200, descent(1.0), 13).unwrap();
        let found = directions(&machine, &run, &machine.parameters(), &rows, 150);
        assert_mean(&found, &expected, &machine.direction(&rows, steps), &format!("means of v, CD-{steps}"));
    }
}

/// λ W beside the direction of W, and nothing beside those of the biases: of two steps with the same draws.
#[test]
fn weights_decay() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 1.5, 7);
    let rows = repeated(&states(4), 4);
    let after = |weight_decay: f64| {
        let rbm = Rbm { weight_decay, ..machine.rbm(Gibbs::default()) };
        let mut trainer = Trainer::new(&gpu(), rbm.run(rows.len(), 2, descent(0.5), 9).unwrap()).unwrap();
        trainer.set_parameters(&machine.parameters()).unwrap();
        trainer.load(data(&rows)).unwrap();
        step(&mut trainer);
        trainer.parameters().unwrap()
    };
    let (without, with) = (after(0.0), after(0.25));
    for (tensor, (without, with)) in without.iter().zip(&with).enumerate() {
        for (at, (without, with)) in without.iter().zip(with).enumerate() {
            let decay = if tensor == 0 { 0.5 * 0.25 * machine.w[at] } else { 0.0 };
            let found = f64::from(*without) - f64::from(*with);
            assert!((found - decay).abs() < 1e-6, "tensor {tensor}, {at}: {found}, {decay}");
        }
    }
}

/// Chains that start at states of their own, in another number than the rows: not where rows are, and not left there.
#[test]
fn persistent_chains_go_on_from_where_they_are() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 3.0, 7);
    let rows: Vec<Vec<f64>> = [3, 5, 8].map(|i| states(4)[i].clone()).to_vec();
    let begun = repeated(&[0, 15, 10, 10].map(|i| states(4)[i].clone()), 60);
    let start = [machine.parameters(), vec![narrow(&begun.concat())]].concat();
    let toward = |chains: &[Vec<f64>], steps: usize| -> Vec<f64> {
        let data = machine.mean_slope(&rows, &[1.0 / 3.0; 3]);
        let model = machine.mean_slope(&states(4), &machine.after(chains, steps));
        data.iter().zip(model).map(|(data, model)| data - model).collect()
    };
    for (steps, other) in [(1, toward(&rows, 1)), (2, toward(&begun, 1))] {
        let gibbs = Gibbs::Persistent { steps, chains: begun.len() };
        let run = machine.rbm(gibbs).run(3, 200, descent(1.0), 11).unwrap();
        let found = directions(&machine, &run, &start, &rows, 150);
        assert_mean(&found, &toward(&begun, steps), &other, &format!("PCD-{steps}"));
    }
}

#[test]
fn chains_are_state() {
    let patterns = bars_and_stripes();
    let rbm = Rbm { gibbs: Gibbs::Persistent { steps: 1, chains: 7 }, ..Rbm::new(9, 6) };
    let run = rbm.run(5, 4, Update::adam([Rbm::PARAMETERS], 0.01), 3).unwrap();
    let begin = |trainer: &mut Trainer| trainer.load(data(&patterns)).unwrap();
    let mut trainer = Trainer::new(&gpu(), run.clone()).unwrap();
    trainer.set_parameters(&rbm.initial(1).unwrap()).unwrap();
    begin(&mut trainer);
    let (folder, mut chains) = (tempfile::tempdir().unwrap(), trainer.parameters().unwrap().pop().unwrap());
    let path = folder.path().join("chains.safetensors");
    for taken in 0..12 {
        if taken == 5 {
            trainer.checkpoint(&path).unwrap();
        }
        let terms = step(&mut trainer);
        assert!(
            matches!(&terms[..], [(name, error)] if name == "divergence.reconstruction" && *error > 0.0),
            "{terms:?}"
        );
        let next = trainer.parameters().unwrap().pop().unwrap();
        assert!(next.iter().all(|&v| v == 0.0 || v == 1.0), "draws");
        assert!(next != chains, "step {taken} moved none of 7 chains of 9 coins");
        chains = next;
    }
    let mut resumed = Trainer::resume(&gpu(), run, &path).unwrap();
    begin(&mut resumed);
    assert_eq!(resumed.steps(), 5);
    (5..12).for_each(|_| drop(step(&mut resumed)));
    assert!(resumed.parameters().unwrap() == trainer.parameters().unwrap(), "the same bits");
}

/// What is reported is the squared distance from the mean of v given a drawn h.
#[test]
fn the_reconstruction_is_that_of_a_drawn_h() {
    for units in [Units::Bernoulli, Units::Gaussian] {
        let machine = Machine::drawn(4, 3, units, 1.5, 7);
        let row = vec![1.0, 0.0, 0.0, 1.0];
        let error = |h: &Vec<f64>| -> f64 {
            let mean =
                machine.visible_given(h).into_iter().map(|z| if units == Units::Gaussian { z } else { sigmoid(z) });
            row.iter().zip(mean).map(|(v, mean)| (v - mean).powi(2)).sum()
        };
        let (first, second) = states(3).iter().fold((0.0, 0.0), |(first, second), h| {
            let p = machine.probability(h, &row);
            (first + p * error(h), second + p * error(h).powi(2))
        });
        let rows = vec![row.clone(); 4096];
        let run = machine.rbm(Gibbs::default()).run(4096, 1, descent(1.0), 2).unwrap();
        let mut trainer = Trainer::new(&gpu(), run).unwrap();
        trainer.set_parameters(&machine.parameters()).unwrap();
        trainer.load(data(&rows)).unwrap();
        let (found, deviation) = (step(&mut trainer)[0].1, ((second - first * first) / 4096.0).sqrt());
        assert!((found - first).abs() < 5.0 * deviation, "{units:?}: {found}, {first} ± {deviation}");
    }
}

/// Bars and stripes: far above what is said of them by pixels that know nothing of each other, by both divergences, and in
/// 1,500 steps.
#[test]
fn bars_and_stripes_become_likely() {
    let patterns = bars_and_stripes();
    let rows = repeated(&patterns, 70);
    let apart = -9.0 * 2f64.ln();
    for gibbs in [Gibbs::default(), Gibbs::Persistent { steps: 1, chains: 98 }] {
        let rbm = Rbm { gibbs, ..Rbm::new(9, 16) };
        let mut start = rbm.initial(4).unwrap();
        start[0].iter_mut().for_each(|w| *w *= 10.0);
        let begun = Machine::of(&rbm, &start).log_likelihood(&patterns);
        assert!((begun - apart).abs() < 0.5, "{begun}");
        let mut trainer = Trainer::new(&gpu(), rbm.run(98, 150, descent(0.1), 6).unwrap()).unwrap();
        trainer.set_parameters(&start).unwrap();
        trainer.fit(data(&rows)).unwrap();
        let learned = Machine::of(&rbm, &trainer.parameters().unwrap()).log_likelihood(&patterns);
        println!("{gibbs:?}: {begun} to {learned}");
        assert!(learned > -4.3 && learned < -(14f64.ln()), "{gibbs:?}: {begun} to {learned}");
    }
}

/// The gradient of the autoencoder's reconstruction error points as CD-1 does, for most weights (Bengio and Delalleau, "Justifying
/// and generalizing contrastive divergence", 2009, section 5).
#[test]
fn the_autoencoders_gradient_agrees_with_contrastive_divergence_in_most_signs() {
    let patterns = bars_and_stripes();
    let machine = Machine::drawn(9, 6, Units::Bernoulli, 0.5, 7);
    let rbm = machine.rbm(Gibbs::default());
    let model = rbm.model(&gpu(), &machine.parameters()).unwrap();
    let training =
        Training { optimizer: Optimizer::SGD, learning_rate: 1.0, batch: 14, epochs: 1, ..Training::default() };
    let mut session = Session::of(&model, training).unwrap();
    session.fit(data(&patterns)).unwrap();
    let after = session.parameters().unwrap();
    let expected = machine.direction(&patterns, 1);
    let pairs = machine.w.iter().zip(&after[0]).map(|(before, after)| before - f64::from(*after)).zip(&expected);
    let agree = pairs.filter(|(gradient, direction)| gradient * **direction > 0.0).count();
    println!("{agree} of 54");
    // Coins would agree on 41 or more once in 10,000 times.
    assert!(agree >= 41, "{agree} of 54");
}

#[test]
fn machines_that_cannot_work_are_refused() {
    let good = Rbm { gibbs: Gibbs::Persistent { steps: 1, chains: 2 }, ..Rbm::new(4, 3) };
    let persistent = |steps, chains| Rbm { gibbs: Gibbs::Persistent { steps, chains }, ..good };
    let contrastive = |steps| Rbm { gibbs: Gibbs::Contrastive { steps }, ..good };
    let cases = [
        (Rbm { visible: 0, ..good }, "visible"),
        (Rbm { visible: usize::MAX, ..good }, "visible"),
        (Rbm { hidden: 0, ..good }, "hidden"),
        (Rbm { hidden: (1 << 20) + 1, ..good }, "hidden"),
        (contrastive(0), "gibbs.steps"),
        (contrastive(101), "gibbs.steps"),
        (persistent(0, 1), "gibbs.steps"),
        (persistent(1, 0), "gibbs.chains"),
        (persistent(1, usize::MAX), "gibbs.chains"),
        (Rbm { visible_units: Units::Gaussian, hidden_units: Units::Gaussian, ..good }, "hidden_units"),
        (Rbm { weight_decay: -1e-4, ..good }, "weight_decay"),
        (Rbm { weight_decay: f64::NAN, ..good }, "weight_decay"),
        (Rbm { weight_decay: 1e39, ..good }, "weight_decay"),
    ];
    let parameters = good.initial(0).unwrap();
    for (bad, wanted) in cases {
        let errors = [
            bad.check().err(),
            bad.spec().err(),
            bad.initial(0).err(),
            bad.run(2, 1, descent(0.1), 0).err(),
            bad.model(&gpu(), &parameters).err(),
            bad.free_energies(&gpu(), &parameters).err(),
            bad.sampler(&gpu(), &parameters, &[0.0; 4], 0).err(),
        ];
        for error in errors {
            assert!(matches!(&error, Some(Error::Spec { field, .. }) if field == wanted), "{wanted}: {error:?}");
        }
    }
    assert!(contrastive(100).check().is_ok());
    let refused = |update: Update, batch: usize| match good.run(batch, 1, update, 0) {
        Err(Error::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert!(refused(descent(0.0), 2).contains("learning_rate"));
    assert!(refused(descent(0.1), 0).contains("batch"));
    assert!(refused(Update { sets: vec![], ..descent(0.1) }, 2).contains("sets"));
    assert!(refused(Update { sets: vec![Rbm::PARAMETERS, Rbm::CHAINS], ..descent(0.1) }, 2).contains("state"));
}

#[test]
fn parameters_and_rows_that_do_not_fit_are_refused() {
    let rbm = Rbm::new(4, 3);
    let good = rbm.initial(0).unwrap();
    let place = |parameters: &[Vec<f32>], rows: &[f32]| {
        let energies = rbm.free_energies(&gpu(), parameters).and_then(|mut energies| energies.of(rows));
        let found = [energies.err(), rbm.sampler(&gpu(), parameters, rows, 0).err()];
        found.map(|error| match error {
            Some(Error::Data { place, .. }) => place,
            other => panic!("{other:?}"),
        })
    };
    let all = |places: [String; 2], wanted: &str| assert!(places.iter().all(|place| place == wanted), "{places:?}");
    all(place(&good[..2], &[0.0; 4]), "parameters");
    // Contrastive divergence has no chains.
    all(place(&[&good[..], &[vec![0.0; 4]]].concat(), &[0.0; 4]), "parameters");
    for (i, name) in ["encoder.0.weight", "encoder.0.bias", "decoder.0.bias"].into_iter().enumerate() {
        let mut bad = good.clone();
        bad[i].pop();
        all(place(&bad, &[0.0; 4]), name);
        bad[i].push(f32::NAN);
        all(place(&bad, &[0.0; 4]), name);
    }
    for rows in [&[][..], &[0.0; 5], &[0.0, f32::INFINITY, 0.0, 0.0]] {
        assert!(place(&good, rows).iter().all(|place| place.starts_with("rows ")), "{rows:?}");
    }
    let large = vec![vec![f32::MAX; 12], vec![0.0; 3], vec![0.0; 4]];
    match rbm.free_energies(&gpu(), &large).unwrap().of(&[[0.0; 4], [1.0; 4]].concat()) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "free energies: row 1"),
        other => panic!("{other:?}"),
    }
    // A run refuses rows of another width by itself.
    let mut trainer = Trainer::new(&gpu(), rbm.run(2, 1, descent(0.1), 0).unwrap()).unwrap();
    assert!(matches!(trainer.load(Data::from_rows(3, vec![0.0; 9]).unwrap()), Err(Error::Data { .. })));
}

/// What is no probability is refused where rows are loaded, before anything learns of it.
#[test]
fn rows_of_binary_units_are_probabilities() {
    let mut values = vec![0.5; 4 * 6000];
    (values[0], values[1]) = (1.0, 0.0);
    let load = |rbm: Rbm, values: &[f32]| {
        let mut trainer = Trainer::new(&gpu(), rbm.run(2, 1, descent(0.1), 0).unwrap()).unwrap();
        trainer.load(Data::from_rows(4, values.to_vec()).unwrap())
    };
    load(Rbm::new(4, 3), &values).unwrap();
    for bad in [1.5, -0.25] {
        values[4 * 5000 + 2] = bad;
        match load(Rbm::new(4, 3), &values) {
            Err(Error::Data { place, found, allowed, .. }) => {
                assert!(place.ends_with(": row 5000, column 2"), "{place}");
                assert_eq!((found, allowed.as_str()), (bad.to_string(), "0 to 1 in the phase \"divergence\""));
            }
            other => panic!("{other:?}"),
        }
        load(Rbm { visible_units: Units::Gaussian, ..Rbm::new(4, 3) }, &values).unwrap();
    }
    // Of rows that are pushed, those that are there.
    let ring = Ring::uniform(&gpu(), 4, 8).unwrap();
    ring.push(&[0.5; 12]).unwrap();
    let mut trainer = Trainer::new(&gpu(), Rbm::new(4, 3).run(2, 1, descent(0.1), 0).unwrap()).unwrap();
    trainer.load(&ring).unwrap();
    ring.push(&[0.5, 0.5, 0.5, 1.25]).unwrap();
    match trainer.load(&ring) {
        Err(Error::Data { place, .. }) => assert!(place.ends_with(": row 3, column 3"), "{place}"),
        other => panic!("{other:?}"),
    }
}

/// As text and back; what is not given is CD-1 of coins.
#[test]
fn it_is_plain_data() {
    let short: Rbm = toml::from_str("visible = 4\nhidden = 3").unwrap();
    let (visible_units, hidden_units, gibbs) = (Units::Bernoulli, Units::Bernoulli, Gibbs::Contrastive { steps: 1 });
    let (visible_means, weight_decay) = (false, 0.0);
    let whole = Rbm { visible: 4, hidden: 3, visible_units, hidden_units, gibbs, visible_means, weight_decay };
    assert!(short == whole && short == Rbm::new(4, 3));
    let long =
        "visible = 4\nhidden = 3\nvisible_units = \"gaussian\"\ngibbs = { persistent = { steps = 5, chains = 100 } }";
    let long: Rbm = toml::from_str(long).unwrap();
    assert_eq!(
        long,
        Rbm { visible_units: Units::Gaussian, gibbs: Gibbs::Persistent { steps: 5, chains: 100 }, ..short }
    );
    assert_eq!(toml::from_str::<Rbm>(&toml::to_string(&long).unwrap()).unwrap(), long);
    assert!(toml::from_str::<Rbm>("visible = 4\nhidden = 3\nunit = \"gaussian\"").is_err());
}
