//! Classifiers on pretrained encoders against plain f64: what follows the gradient, what stays as it is to the bit, and what is
//! refused.

use crate::common::{gpu, values};
use crate::phases::report;
use strait::model::Supervised;
use strait::train::{Run, Trainer};
use strait::{Activation, Data, Error, Optimizer, Session, Spec, Training};

const INPUT: usize = 6;
const WIDTHS: [usize; 2] = [5, 4];
const CLASSES: usize = 3;
const ROWS: usize = 12;
const RATE: f64 = 0.5;

fn spec() -> Spec {
    let spec = Spec::symmetric(&[INPUT, WIDTHS[0], WIDTHS[1]], Activation::Sigmoid).gaussian_corruption(0.3);
    Spec { supervised: Some(Supervised { classes: CLASSES, weight: 1.0 }), ..spec.code_activation(Activation::Tanh) }
}

fn data() -> Data {
    let rows = Data::from_rows(INPUT, values(181, ROWS * INPUT, (-1.0, 1.0))).unwrap();
    rows.with_labels((0..ROWS).map(|row| (row * 7 % CLASSES) as u32).collect()).unwrap()
}

fn training(epochs: u64) -> Training {
    let optimizer = Optimizer::SGD;
    Training { optimizer, learning_rate: RATE, epochs, batch: ROWS, shuffle: false, seed: 3, ..Training::default() }
}

fn trainer(frozen: &[&str], epochs: u64) -> Trainer {
    Trainer::new(&gpu(), Run::classifier(&spec(), frozen, &training(epochs)).unwrap()).unwrap()
}

/// A tensor of a trainer by its name, in f64.
fn tensor(trainer: &Trainer, name: &str) -> Vec<f64> {
    let at = trainer.tensors().iter().position(|tensor| tensor.name == name).unwrap();
    trainer.parameters().unwrap()[at].iter().map(|&v| f64::from(v)).collect()
}

/// x W + b of a row.
fn linear(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let column = |j: usize| b[j] + x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + j]).sum::<f64>();
    (0..b.len()).map(column).collect()
}

/// W' of a cotangent.
fn back(d: &[f64], w: &[f64], rows: usize) -> Vec<f64> {
    (0..rows).map(|i| d.iter().enumerate().map(|(j, other)| other * w[i * d.len() + j]).sum()).collect()
}

/// Encoder and classifier in f64: pairs of weights and biases.
#[derive(Clone)]
struct Hand([(Vec<f64>, Vec<f64>); 3]);

impl Hand {
    fn of(trainer: &Trainer) -> Hand {
        let layer = |name: &str| (tensor(trainer, &format!("{name}.weight")), tensor(trainer, &format!("{name}.bias")));
        Hand([layer("encoder.0"), layer("encoder.1"), layer("classifier")])
    }

    /// One step of gradient descent on the mean of −log p(label), of the layers from `first` on; what it was before.
    fn step(&mut self, first: usize) -> f64 {
        let [(w0, b0), (w1, b1), (w2, b2)] = self.0.clone();
        let (data, mut loss) = (data(), 0.0);
        let mut change = self.0.clone().map(|(w, b)| (vec![0.0; w.len()], vec![0.0; b.len()]));
        for (row, &label) in data.labels().unwrap().iter().enumerate() {
            let x: Vec<f64> = data.row(row).unwrap().iter().map(|&v| f64::from(v)).collect();
            let h0: Vec<f64> = linear(&x, &w0, &b0).iter().map(|a| 1.0 / (1.0 + (-a).exp())).collect();
            let h1: Vec<f64> = linear(&h0, &w1, &b1).iter().map(|a| a.tanh()).collect();
            let logits = linear(&h1, &w2, &b2);
            let total: f64 = logits.iter().map(|z| z.exp()).sum();
            loss -= (logits[label as usize].exp() / total).ln() / ROWS as f64;
            let wanted = |j: usize| f64::from(u8::from(j == label as usize));
            let d2: Vec<f64> = (0..CLASSES).map(|j| (logits[j].exp() / total - wanted(j)) / ROWS as f64).collect();
            let d1: Vec<f64> = back(&d2, &w2, WIDTHS[1]).iter().zip(&h1).map(|(d, h)| d * (1.0 - h * h)).collect();
            let d0: Vec<f64> = back(&d1, &w1, WIDTHS[0]).iter().zip(&h0).map(|(d, h)| d * h * (1.0 - h)).collect();
            for ((w, b), (input, d)) in change.iter_mut().zip([(&x, &d0), (&h0, &d1), (&h1, &d2)]) {
                for (j, d) in d.iter().enumerate() {
                    b[j] += d;
                    input.iter().enumerate().for_each(|(i, x)| w[i * b.len() + j] += x * d);
                }
            }
        }
        for ((w, b), (dw, db)) in self.0.iter_mut().zip(change).skip(first) {
            w.iter_mut().zip(dw).for_each(|(w, d)| *w -= RATE * d);
            b.iter_mut().zip(db).for_each(|(b, d)| *b -= RATE * d);
        }
        loss
    }
}

/// All layers, the last of the encoder, and none of it (where codes are computed once): each step by hand.
#[test]
fn what_is_not_frozen_follows_the_gradient() {
    const EPOCHS: u64 = 4;
    for (frozen, first) in
        [(&[][..], 0), (&["encoder.0"][..], 1), (&["encoder"][..], 2), (&["encoder.0", "encoder.1"], 2)]
    {
        let mut trainer = trainer(frozen, EPOCHS);
        let before = trainer.parameters().unwrap();
        let mut hand = Hand::of(&trainer);
        trainer.load(data().labelled(CLASSES).unwrap()).unwrap();
        for epoch in 0..EPOCHS {
            trainer.step(1).unwrap();
            let (told, due) = (report(&mut trainer).unwrap(), hand.step(first));
            assert_eq!(told.terms[0].0, "step.classification");
            assert!((told.loss - due).abs() < 1e-5, "{frozen:?}, epoch {epoch}: {} where {due} is due", told.loss);
        }
        let found = Hand::of(&trainer);
        for (at, ((w, b), (ew, eb))) in found.0.iter().zip(&hand.0).enumerate() {
            for (found, due) in w.iter().chain(b).zip(ew.iter().chain(eb)) {
                assert!((found - due).abs() < 2e-6, "{frozen:?}, layer {at}: {found} where {due} is due");
            }
        }
        for ((tensor, before), now) in trainer.tensors().iter().zip(before).zip(trainer.parameters().unwrap()) {
            let layer = ["encoder.0.", "encoder.1.", "classifier."].iter().position(|l| tensor.name.starts_with(l));
            assert_eq!(before != now, layer.is_some_and(|layer| layer >= first), "{frozen:?}: {}", tensor.name);
        }
    }
}

/// A pretrained encoder's layers, and a model that classifies.
#[test]
fn it_starts_from_a_pretrained_encoder() {
    let plain = Spec { supervised: None, ..spec() };
    let mut pretrained = Session::new(&gpu(), &plain, training(5)).unwrap();
    pretrained.fit(Data::from_rows(INPUT, data().values().to_vec()).unwrap()).unwrap();
    let mut trainer = trainer(&["encoder"], 60);
    trainer.start_from(&pretrained).unwrap();
    let first = trainer.model().unwrap();
    let rows = data();
    assert!(first.encode(rows.values()).unwrap() == pretrained.encode(rows.values()).unwrap());
    let right = |model: &strait::Model| {
        let told = model.classify(rows.values()).unwrap();
        let best = |p: &[f32]| (0..CLASSES).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
        let labels = rows.labels().unwrap();
        told.chunks(CLASSES).zip(labels).filter(|(p, label)| best(p) == **label as usize).count()
    };
    let before = right(&first);
    trainer.fit(rows.labelled(CLASSES).unwrap()).unwrap();
    let model = trainer.model().unwrap();
    assert!(right(&model) > before, "{} of {ROWS} right, {before} before", right(&model));
    assert!(model.encode(rows.values()).unwrap() == pretrained.encode(rows.values()).unwrap());
}

#[test]
fn what_is_no_classifier_is_refused() {
    let refused = |spec: &Spec, frozen: &[&str]| match Run::classifier(spec, frozen, &training(1)) {
        Err(Error::Spec { field, value, .. }) => (field, value),
        other => panic!("{:?}", other.map(drop)),
    };
    assert_eq!(refused(&Spec { supervised: None, ..spec() }, &[]), ("supervised".into(), "none".into()));
    for name in ["encoder.2", "decoder.0", "encoder.0.weight", "", "encoder."] {
        assert_eq!(refused(&spec(), &["encoder.0", name]), ("frozen".into(), format!("{name:?}")));
    }
    match trainer(&[], 1).load(data()) {
        Err(Error::Data { place, .. }) => assert!(place.ends_with("columns"), "{place}"),
        other => panic!("{other:?}"),
    }
}
