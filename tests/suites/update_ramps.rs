//! Ramps of what updates are made with: norms to clip by, momentum, shares of moments, epsilon, decay. Against an
//! update written down here in f64 from the gradients of each step; corrections that fit whatever moments did; what
//! cannot be.

use crate::common::{gpu, report, values};
use crate::updates::OPTIMIZERS;
use strait::graph::{Set, Shape, Sink, Tensor, TensorSet};
use strait::train::{Phase, Run, Step, Trainer, Update};
use strait::{Activation, Curve, Data, Error, Optimizer, Ramp, Session, Spec, Training, UpdateRamps};

/// Seven epochs of three steps.
const STEPS: usize = 21;

fn rows() -> Data {
    Data::from_rows(4, values(71, 15 * 4, (-1.0, 1.0))).unwrap()
}

fn spec() -> Spec {
    Spec::symmetric(&[4, 3], Activation::Tanh)
}

fn training(optimizer: Optimizer, clip_norm: Option<f64>, ramps: UpdateRamps) -> Training {
    Training { optimizer, clip_norm, ramps, batch: 6, epochs: 7, learning_rate: 0.05, ..Training::default() }
}

fn begun(training: Training) -> Session {
    let mut session = Session::new(&gpu(), &spec(), training).unwrap();
    session.load(rows()).unwrap();
    session
}

/// A way from a value to the number's own.
fn ramp(from: f64) -> Option<Ramp> {
    Some(Ramp { from, curve: Curve::Linear, begin: 0.1, end: 0.8 })
}

/// Its formula, written down here.
fn at(from: f64, to: f64, step: usize) -> f64 {
    let t = ((step as f64 / STEPS as f64 - 0.1) / 0.7).clamp(0.0, 1.0);
    from * (1.0 - t) + to * t
}

/// The numbers of an update, each from a value to its own.
const CLIP: (f64, f64) = (0.02, 0.4);
const MOMENTUM: (f64, f64) = (0.2, 0.9);
const ALPHA: (f64, f64) = (0.5, 0.99);
const BETA1: (f64, f64) = (0.0, 0.9);
const BETA2: (f64, f64) = (0.6, 0.999);
const EPSILON: (f64, f64) = (1e-2, 1e-8);
const DECAY: (f64, f64) = (0.9, 0.1);

/// All ramps that an optimizer may have.
fn all(optimizer: Optimizer) -> UpdateRamps {
    let clip_norm = ramp(CLIP.0);
    let shares =
        UpdateRamps { beta1: ramp(BETA1.0), beta2: ramp(BETA2.0), epsilon: ramp(EPSILON.0), ..Default::default() };
    match optimizer {
        Optimizer::Sgd { momentum: 0.0, .. } => UpdateRamps { clip_norm, ..Default::default() },
        Optimizer::Sgd { .. } => UpdateRamps { clip_norm, momentum: ramp(MOMENTUM.0), ..Default::default() },
        Optimizer::RmsProp { .. } => {
            UpdateRamps { clip_norm, alpha: ramp(ALPHA.0), epsilon: ramp(EPSILON.0), ..Default::default() }
        }
        Optimizer::Adam { .. } => UpdateRamps { clip_norm, ..shares },
        Optimizer::AdamW { .. } => UpdateRamps { clip_norm, weight_decay: ramp(DECAY.0), ..shares },
        other => panic!("no ramps for {other:?}"),
    }
}

/// One parameter's update in f64: its new value, and its moments', behind the products of all shares so far.
fn updated(optimizer: Optimizer, step: usize, p: f64, g: f64, [m, v]: [f64; 2], kept: [f64; 2]) -> (f64, [f64; 2]) {
    let lr = 0.05;
    let of = |(from, to)| at(from, to, step);
    match optimizer {
        Optimizer::Sgd { momentum: 0.0, .. } => (p - lr * g, [m, v]),
        Optimizer::Sgd { nesterov, .. } => {
            let b = of(MOMENTUM) * m + g;
            (p - lr * if nesterov { g + of(MOMENTUM) * b } else { b }, [b, v])
        }
        Optimizer::RmsProp { .. } => {
            let v = of(ALPHA) * v + (1.0 - of(ALPHA)) * g * g;
            (p - lr * g / (v.sqrt() + of(EPSILON)), [m, v])
        }
        Optimizer::Adam { .. } | Optimizer::AdamW { .. } => {
            let m = of(BETA1) * m + (1.0 - of(BETA1)) * g;
            let v = of(BETA2) * v + (1.0 - of(BETA2)) * g * g;
            let decay = if matches!(optimizer, Optimizer::AdamW { .. }) { of(DECAY) } else { 0.0 };
            let (first, second) = (m / (1.0 - kept[0]), v / (1.0 - kept[1]));
            (p * (1.0 - lr * decay) - lr * first / (second.sqrt() + of(EPSILON)), [m, v])
        }
        other => panic!("no formula for {other:?}"),
    }
}

/// Each step does with its gradients what the formulas say, for every optimizer with ramps of all that it has.
#[test]
fn every_step_has_the_numbers_of_its_formulas() {
    for optimizer in OPTIMIZERS {
        let mut session = begun(training(optimizer, Some(CLIP.1), all(optimizer)));
        let mut moments = vec![[0.0; 2]; session.parameters().unwrap().concat().len()];
        let (mut kept, mut clipped) = ([1.0; 2], 0);
        for step in 0..STEPS {
            let before = session.parameters().unwrap().concat();
            assert!(session.backward().unwrap());
            let gradients: Vec<f64> = session.gradients().unwrap().concat().into_iter().map(f64::from).collect();
            session.apply().unwrap();
            report(&mut session);
            let norm = gradients.iter().map(|g| g * g).sum::<f64>().sqrt();
            let scale = (at(CLIP.0, CLIP.1, step) / (norm + 1e-6)).min(1.0);
            clipped += usize::from(scale < 1.0);
            kept = [kept[0] * at(BETA1.0, BETA1.1, step), kept[1] * at(BETA2.0, BETA2.1, step)];
            let after = session.parameters().unwrap().concat();
            for (((&p, found), g), moments) in before.iter().zip(after).zip(gradients).zip(&mut moments) {
                let (expected, next) = updated(optimizer, step, f64::from(p), g * scale, *moments, kept);
                *moments = next;
                let off = (f64::from(found) - expected).abs();
                assert!(off < 3e-6 * (0.05 + expected.abs()), "{optimizer:?}, step {step}: {found}, not {expected}");
            }
        }
        assert!(clipped > 3, "{optimizer:?}: clipped in {clipped} steps");
    }
}

/// Numbers that are read and stay as they are give what constants give, up to how a compiler rounds with these.
#[test]
fn what_does_not_change_is_what_it_was() {
    for optimizer in OPTIMIZERS {
        let constant = |ramp: Option<Ramp>| ramp.map(|_| Ramp::constant());
        let all = all(optimizer);
        let ramps = UpdateRamps {
            clip_norm: constant(all.clip_norm),
            momentum: constant(all.momentum),
            alpha: constant(all.alpha),
            beta1: constant(all.beta1),
            beta2: constant(all.beta2),
            epsilon: constant(all.epsilon),
            weight_decay: constant(all.weight_decay),
        };
        let [found, expected] = [ramps, UpdateRamps::default()].map(|ramps| {
            let mut session = begun(training(optimizer, Some(CLIP.1), ramps));
            session.fit(rows()).unwrap();
            session.parameters().unwrap().concat()
        });
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{optimizer:?}: {found}, not {expected}");
        }
    }
}

/// A run that is taken up in the middle of its ramps ends as if nothing had happened; its file has them.
#[test]
fn a_run_goes_on_in_the_middle_of_them() {
    let adamw = OPTIMIZERS[5];
    let training = training(adamw, Some(CLIP.1), all(adamw));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("middle");
    let mut whole = begun(training);
    whole.fit(rows()).unwrap();
    let mut broken = begun(training);
    for _ in 0..8 {
        assert_eq!(broken.step(1).unwrap().steps(), 1);
        report(&mut broken);
    }
    broken.checkpoint(&file).unwrap();
    let mut resumed = Session::resume(&gpu(), &file).unwrap();
    assert_eq!(*resumed.training(), training);
    resumed.fit(rows()).unwrap();
    assert!(resumed.parameters().unwrap() == whole.parameters().unwrap());
}

/// Where the gradient is always the same, so are Adam's corrected moments, whatever their shares do: every step is the
/// learning rate. Of two updates of one step, each with ramps of its own.
#[test]
fn corrections_fit_shares_that_change() {
    let of = |name: &str| TensorSet::new(name, vec![Tensor { name: name.into(), shape: Shape::fixed(&[3]) }]);
    let mut run = Run::new(vec![of("a"), of("b")], vec![]).unwrap();
    let mut g = run.graph();
    let x = g.gather(4, false);
    let none = g.sum_all(x);
    let none = g.batch_mean(none).unwrap();
    g.term("none", none);
    let slopes = [0.7f32, -0.002];
    for (i, slope) in slopes.into_iter().enumerate() {
        let gradient = g.fill(slope.into(), Shape::fixed(&[3]));
        g.sink(Sink::Gradient(i), gradient);
    }
    let (rates, epsilon) = ([0.01, 0.03], 1e-12);
    let adam = |beta1, beta2| Optimizer::Adam { beta1, beta2, epsilon };
    let updates = [
        Update {
            optimizer: adam(0.9, 0.999),
            ramps: UpdateRamps { beta1: ramp(0.1), beta2: ramp(0.3), ..Default::default() },
            ..Update::adam([Set(0)], rates[0])
        },
        Update {
            optimizer: adam(0.5, 0.8),
            ramps: UpdateRamps { beta2: ramp(0.9999), ..Default::default() },
            ..Update::adam([Set(1)], rates[1])
        },
    ];
    let twice = Step { repeat: 2, ..Step::new("both", g, updates) };
    run.phases = vec![Phase { batch: 6, epochs: 7, ..Phase::new("all", [twice]) }];
    let mut trainer = Trainer::new(&gpu(), run).unwrap();
    trainer.fit(rows()).unwrap();
    let found = trainer.parameters().unwrap();
    for i in 0..2 {
        let expected = -(2.0 * STEPS as f64) * rates[i] * f64::from(slopes[i].signum());
        for &value in &found[i] {
            assert!((f64::from(value) / expected - 1.0).abs() < 2e-5, "{i}: {value}, not {expected}");
        }
    }
}

/// Ramps of numbers that an update does not have, that lead out of their ranges, or that end before they begin.
#[test]
fn ramps_that_cannot_be() {
    let refused = |training: Training| match training.check() {
        Err(Error::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let none = UpdateRamps::default();
    let adam = |ramps| training(Optimizer::ADAM, Some(1.0), ramps);
    assert_eq!(refused(adam(UpdateRamps { momentum: ramp(0.5), ..none })), "ramps");
    assert_eq!(refused(training(Optimizer::ADAM, None, UpdateRamps { clip_norm: ramp(0.5), ..none })), "ramps");
    for (ramps, name) in [
        (UpdateRamps { clip_norm: ramp(0.0), ..none }, "clip_norm"),
        (UpdateRamps { beta1: ramp(1.0), ..none }, "beta1"),
        (UpdateRamps { beta2: ramp(-0.1), ..none }, "beta2"),
        (UpdateRamps { epsilon: ramp(f64::NAN), ..none }, "epsilon"),
    ] {
        assert_eq!(refused(adam(ramps)), format!("ramps[{name:?}].from"));
    }
    let backwards = Ramp { begin: 0.5, end: 0.4, ..Ramp::linear(0.5, 1.0) };
    assert_eq!(refused(adam(UpdateRamps { beta1: Some(backwards), ..none })), "ramps[\"beta1\"].end");
    assert_eq!(refused(adam(UpdateRamps { beta1: ramp(0.999_999_9), ..none })), "ramps[\"beta1\"]");
    let plain = training(Optimizer::SGD, None, UpdateRamps { momentum: ramp(0.9), ..none });
    assert_eq!(refused(plain), "optimizer.momentum");
    assert!(Session::new(&gpu(), &spec(), plain).is_err());
    // In a run the place says where.
    let mut run = Run::new(vec![TensorSet::new("a", vec![])], vec![]).unwrap();
    let update = Update { ramps: UpdateRamps { alpha: ramp(0.5), ..none }, ..Update::adam([Set(0)], 0.1) };
    run.phases = vec![Phase::new("all", [Step::new("only", run.graph(), [update])])];
    match run.check() {
        Err(Error::Spec { field, .. }) => assert_eq!(field, "phases[\"all\"].steps[\"only\"].updates[0].ramps"),
        other => panic!("{other:?}"),
    }
}
