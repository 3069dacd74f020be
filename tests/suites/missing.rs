//! Missing features against plain f64: no code, reconstruction or class is made of what lies there, by the model, by phases on a
//! frozen encoder, or by what looks for bad inputs.

use std::collections::BTreeMap;

use crate::common::{gpu, values};
use crate::phases::report;
use strait::model::{Ascent, Bound, Mapping, Supervised};
use strait::train::{Run, Trainer};
use strait::{Activation, Corruption, Data, Error, Model, Scaling, Session, Spec, Training};

const WIDTHS: [usize; 3] = [6, 5, 4];
const INPUT: usize = WIDTHS[0];
const KEPT: [bool; INPUT] = [true, false, true, true, false, false];
const ROWS: usize = 16;
const CLASSES: usize = 3;

fn spec() -> Spec {
    Spec::symmetric(&WIDTHS, Activation::Tanh).corruption(Corruption::Missing { keep: KEPT.to_vec() })
}

fn supervised() -> Spec {
    Spec { supervised: Some(Supervised { classes: CLASSES, weight: 1.0 }), ..spec() }
}

fn training() -> Training {
    Training { epochs: 5, batch: ROWS, shuffle: false, learning_rate: 0.02, seed: 3, ..Training::default() }
}

fn data() -> Data {
    Data::from_rows(INPUT, values(311, ROWS * INPUT, (-1.0, 1.0))).unwrap()
}

/// The same rows with something else where features are missing.
fn spoiled() -> Data {
    let other = values(312, ROWS * INPUT, (-9.0, 9.0));
    let each =
        data().values().iter().zip(other).enumerate().map(|(i, (&x, o))| if KEPT[i % INPUT] { x } else { o }).collect();
    Data::from_rows(INPUT, each).unwrap()
}

fn labelled(rows: Data) -> Data {
    rows.with_labels((0..ROWS).map(|row| (row * 7 % CLASSES) as u32).collect()).unwrap().labelled(CLASSES).unwrap()
}

/// A model's layers as they were, in f64.
struct Hand(BTreeMap<String, Vec<f64>>);

impl Hand {
    fn of(model: &Model) -> Hand {
        let names = model.tensors().iter().map(|tensor| tensor.name.clone());
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        Hand(names.zip(model.parameters().unwrap().into_iter().map(wide)).collect())
    }

    /// x W + b by a layer, and its activation where it has one.
    fn layer(&self, name: &str, x: &[f64], tanh: bool) -> Vec<f64> {
        let [w, b] = ["weight", "bias"].map(|of| &self.0[&format!("{name}.{of}")]);
        let sum = |j: usize| x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + j]).sum::<f64>();
        let each = (0..b.len()).map(|j| b[j] + sum(j));
        each.map(|a| if tanh { a.tanh() } else { a }).collect()
    }

    /// What the first layer makes of a row without what is missing.
    fn first(&self, row: &[f64]) -> Vec<f64> {
        let seen: Vec<f64> = row.iter().zip(KEPT).map(|(x, kept)| if kept { *x } else { 0.0 }).collect();
        self.layer("encoder.0", &seen, true)
    }

    fn code(&self, row: &[f64]) -> Vec<f64> {
        self.layer("encoder.1", &self.first(row), false)
    }

    fn back(&self, row: &[f64]) -> Vec<f64> {
        self.layer("decoder.1", &self.layer("decoder.0", &self.code(row), true), false)
    }

    /// The mean squared error over all features.
    fn error(&self, row: &[f64]) -> f64 {
        mean_square(&self.back(row), row)
    }

    fn classes(&self, row: &[f64]) -> Vec<f64> {
        let each: Vec<f64> = self.layer("classifier", &self.code(row), false).iter().map(|z| z.exp()).collect();
        let sum: f64 = each.iter().sum();
        each.iter().map(|e| e / sum).collect()
    }
}

fn mean_square(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / a.len() as f64
}

fn rows(data: &Data) -> Vec<Vec<f64>> {
    data.values().chunks(INPUT).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect()
}

fn assert_near(found: &[f32], due: &[Vec<f64>], what: &str) {
    let due = due.concat();
    assert_eq!(found.len(), due.len(), "{what}");
    for (i, (found, due)) in found.iter().zip(due).enumerate() {
        assert!((f64::from(*found) - due).abs() < 2e-6 * due.abs().max(1.0), "{what}, {i}: {found} where {due} is due");
    }
}

/// Codes, reconstructions, errors, classes and Jacobians of a model, and what evaluation says.
#[test]
fn a_model_does_not_see_them() {
    let mut session = Session::new(&gpu(), &supervised(), training()).unwrap();
    session.fit(labelled(data())).unwrap();
    let (hand, found) = (Hand::of(&session.model()), spoiled());
    let each = |of: &dyn Fn(&[f64]) -> Vec<f64>| rows(&found).iter().map(|row| of(row)).collect::<Vec<_>>();
    assert_near(&session.encode(found.values()).unwrap(), &each(&|row| hand.code(row)), "codes");
    assert_near(&session.reconstruct(found.values()).unwrap(), &each(&|row| hand.back(row)), "reconstructions");
    assert_near(&session.classify(found.values()).unwrap(), &each(&|row| hand.classes(row)), "classes");
    let errors = each(&|row| vec![hand.error(row)]);
    assert_near(&session.score(found.values()).unwrap(), &errors, "scores");
    let evaluated = session.evaluate(labelled(spoiled())).unwrap();
    let mean = errors.concat().iter().sum::<f64>() / ROWS as f64;
    let (name, value) = &evaluated.terms[0];
    assert_eq!(name, "reconstruction");
    assert!((value - mean).abs() < 2e-6 * mean, "evaluated: {value} where {mean} is due");
    for of in [Mapping::Encoder, Mapping::Reconstruction] {
        for (i, slope) in session.jacobian(found.values(), of).unwrap().iter().enumerate() {
            assert_eq!(*slope != 0.0, KEPT[i % INPUT], "{of:?}, {i}: {slope}");
        }
    }
}

/// So it is in units of a scaling, too, whose 0 is what is put in their place.
#[test]
fn they_are_missing_in_units_of_a_scaling() {
    let spec = spec().scaling(Scaling::Standardise);
    let mut session = Session::new(&gpu(), &spec, training()).unwrap();
    session.fit(data()).unwrap();
    let of = |column: usize| (0..ROWS).map(move |row| f64::from(data().values()[row * INPUT + column]));
    let mean: Vec<f64> = (0..INPUT).map(|c| of(c).sum::<f64>() / ROWS as f64).collect();
    let deviation = |c: usize| (of(c).map(|x| (x - mean[c]).powi(2)).sum::<f64>() / ROWS as f64).sqrt();
    let scaled = |row: &Vec<f64>| (0..INPUT).map(|c| (row[c] - mean[c]) / deviation(c)).collect::<Vec<_>>();
    let (hand, found) = (Hand::of(&session.model()), spoiled());
    let due: Vec<_> = rows(&found).iter().map(|row| hand.code(&scaled(row))).collect();
    assert_near(&session.encode(found.values()).unwrap(), &due, "codes");
}

/// A trainer after so many phases and what it had learned, and the loss of the next phase's first step, on spoiled rows.
fn first_step(run: Run, phases: usize, on: &dyn Fn(Data) -> Data) -> (Trainer, Hand, f64) {
    let mut trainer = Trainer::new(&gpu(), run).unwrap();
    for _ in 0..phases {
        trainer.fit(on(data())).unwrap();
    }
    let before = Hand::of(&trainer.model().unwrap());
    trainer.load(on(spoiled())).unwrap();
    trainer.step(1).unwrap();
    let loss = report(&mut trainer).unwrap().loss;
    (trainer, before, loss)
}

/// An inner pair is trained on codes of rows without them.
#[test]
fn codes_of_pairs_are_made_without_them() {
    let (_, hand, loss) = first_step(Run::greedy(&spec(), &training()).unwrap(), 1, &|rows| rows);
    let inner = |code: &[f64]| hand.layer("decoder.0", &hand.layer("encoder.1", code, false), true);
    let each =
        rows(&spoiled()).iter().map(|row| hand.first(row)).map(|code| mean_square(&inner(&code), &code)).sum::<f64>();
    assert!((loss - each / ROWS as f64).abs() < 2e-6, "{loss} where {} is due", each / ROWS as f64);
}

/// Pairs of one's own, of which the outermost does not see what the spec does not.
#[test]
fn pairs_see_what_the_spec_sees() {
    for corruption in
        [Corruption::None, Corruption::Gaussian { sigma: 0.1 }, Corruption::Missing { keep: vec![true; INPUT] }]
    {
        let mut pairs = spec().pairs().unwrap();
        pairs[0].corruption = corruption;
        match Run::greedy_by(&spec(), &pairs, &training()) {
            Err(Error::Spec { field, .. }) => assert_eq!(field, "pairs[0].corruption"),
            other => panic!("{:?}", other.map(drop)),
        }
    }
}

/// Classes are learned and told without them, whether codes are computed once or in every step.
#[test]
fn classifiers_do_without_them() {
    for frozen in [&["encoder"][..], &["encoder.0"], &[]] {
        let run = Run::classifier(&supervised(), frozen, &training()).unwrap();
        let (trainer, hand, loss) = first_step(run, 0, &labelled);
        let label = |row: usize| row * 7 % CLASSES;
        let each = rows(&spoiled()).iter().enumerate().map(|(i, row)| -hand.classes(row)[label(i)].ln()).sum::<f64>();
        assert!((loss - each / ROWS as f64).abs() < 2e-6, "{frozen:?}: {loss} where {} is due", each / ROWS as f64);
        let model = trainer.model().unwrap();
        let (hand, found) = (Hand::of(&model), spoiled());
        let due: Vec<_> = rows(&found).iter().map(|row| hand.classes(row)).collect();
        assert_near(&model.classify(found.values()).unwrap(), &due, "classes");
    }
}

/// An ascent moves what the encoder sees, and nothing else; the error counts all features.
#[test]
fn ascents_leave_them_where_they_are() {
    const RADIUS: f64 = 0.3;
    let mut session = Session::new(&gpu(), &spec(), training()).unwrap();
    session.fit(data()).unwrap();
    let (hand, start) = (Hand::of(&session.model()), data());
    let (ends, errors) =
        session.worst(start.values(), &Ascent { bound: Bound::Two(RADIUS), steps: 1, length: RADIUS }).unwrap();
    let ends = rows(&Data::from_rows(INPUT, ends).unwrap());
    for (i, (row, end)) in rows(&start).iter().zip(&ends).enumerate() {
        // Along the gradient by kept features, of central differences.
        let slope = |at: usize| {
            let moved =
                |by: f64| row.iter().enumerate().map(|(j, x)| if j == at { x + by } else { *x }).collect::<Vec<_>>();
            (hand.error(&moved(1e-5)) - hand.error(&moved(-1e-5))) / 2e-5
        };
        let way: Vec<f64> = (0..INPUT).map(|at| if KEPT[at] { slope(at) } else { 0.0 }).collect();
        let norm = way.iter().map(|d| d * d).sum::<f64>().sqrt();
        let due: Vec<f64> = row.iter().zip(&way).map(|(x, d)| x + RADIUS * d / norm).collect();
        let error = hand.error(&due);
        if error <= hand.error(row) {
            // A step that would lower it is not taken.
            assert_eq!(end, row, "row {i}");
            continue;
        }
        for (at, (found, due)) in end.iter().zip(&due).enumerate() {
            assert!((found - due).abs() < 1e-4, "row {i}, feature {at}: {found} where {due} is due");
            assert!(KEPT[at] || *found == row[at], "row {i}: feature {at} moved");
        }
        assert!((f64::from(errors[i]) - error).abs() < 1e-5, "row {i}: {} where {error} is due", errors[i]);
    }
    for bound in [Bound::Two(RADIUS), Bound::Infinity(RADIUS)] {
        let (far, errors) = session.worst(start.values(), &Ascent { bound, steps: 20, length: 0.1 }).unwrap();
        let far = rows(&Data::from_rows(INPUT, far).unwrap());
        for ((row, far), error) in rows(&start).iter().zip(&far).zip(errors) {
            assert!((0..INPUT).all(|at| KEPT[at] || far[at] == row[at]), "{bound:?}");
            assert!((f64::from(error) - hand.error(far)).abs() < 1e-5, "{bound:?}");
        }
    }
}
