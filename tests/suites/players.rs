//! A set that two steps train, each with an optimizer and moments of its own: against plain f64, and going on from a file in
//! the middle of a turn.

use crate::common::{gpu, squared_error};
use crate::phases::report;
use strait::graph::{Graph, Set, Shape, Sink, Tensor, TensorSet};
use strait::internals::plan::AdapterKind;
use strait::train::{Phase, Run, Step, Trainer, Update};
use strait::{Data, Error, Optimizer, Result};

const COLUMNS: usize = 4;
const ROW: [f32; COLUMNS] = [1.0, -0.5, 0.25, 2.0];
const START: [f32; COLUMNS] = [0.1, 0.2, -0.3, 0.4];
const EPOCHS: u64 = 12;

/// The first player draws w towards the rows, the second towards 0, twice a turn.
const RATES: [f64; 2] = [0.02, 0.005];
const BETAS: [[f64; 2]; 2] = [[0.9, 0.999], [0.5, 0.99]];
const REPEATS: [u64; 2] = [1, 2];

fn step(run: &Run, player: usize) -> Result<Step> {
    let mut g: Graph = run.graph();
    let (x, w) = (g.gather(COLUMNS, false), g.param(0)?);
    let each = match player {
        0 => g.map([x, w], |[x, w]| (w - x).square())?,
        _ => g.map([x, w], |[x, w]| 0.5 * w.square() + 0.0 * x)?,
    };
    let objective = g.batch_mean(each)?;
    g.term("objective", objective);
    let gradient = g.gradient(objective, &[w])?[0];
    g.sink(Sink::Gradient(0), gradient);
    let [beta1, beta2] = BETAS[player];
    let optimizer = Optimizer::Adam { beta1, beta2, epsilon: 1e-8 };
    let update = Update { optimizer, ..Update::adam([Set::FIRST], RATES[player]) };
    Ok(Step { repeat: REPEATS[player], ..Step::new(["towards", "away"][player], g, [update]) })
}

fn run() -> Run {
    let tensor = Tensor { name: "w".into(), shape: Shape::fixed(&[COLUMNS]) };
    let mut run = Run::new(vec![TensorSet::new("w", vec![tensor])], vec![]).unwrap();
    let steps = [step(&run, 0).unwrap(), step(&run, 1).unwrap()];
    run.phases = vec![Phase { batch: 2, epochs: EPOCHS, ..Phase::new("both", steps) }];
    run
}

fn data() -> Data {
    Data::from_rows(COLUMNS, [ROW; 4].concat()).unwrap()
}

fn begun() -> Trainer {
    let mut trainer = Trainer::new(&gpu(), run()).unwrap();
    trainer.set_parameters(&[START.to_vec()]).unwrap();
    trainer
}

/// Kingma and Ba's algorithm 1 for each player, in f64.
fn by_hand(turns: u64) -> Vec<f64> {
    let mut w: Vec<f64> = START.iter().map(|&v| f64::from(v)).collect();
    let mut moments = [[[0.0; COLUMNS]; 2]; 2];
    let mut taken = [0; 2];
    for _ in 0..turns {
        for player in 0..2 {
            for _ in 0..REPEATS[player] {
                taken[player] += 1;
                let [beta1, beta2] = BETAS[player];
                for c in 0..COLUMNS {
                    let gradient = if player == 0 { 2.0 * (w[c] - f64::from(ROW[c])) } else { w[c] };
                    let [m, v] = &mut moments[player];
                    m[c] = beta1 * m[c] + (1.0 - beta1) * gradient;
                    v[c] = beta2 * v[c] + (1.0 - beta2) * gradient * gradient;
                    let (m, v) = (m[c] / (1.0 - beta1.powi(taken[player])), v[c] / (1.0 - beta2.powi(taken[player])));
                    w[c] -= RATES[player] * m / (v.sqrt() + 1e-8);
                }
            }
        }
    }
    w
}

#[test]
fn each_has_moments_of_its_own() {
    let mut trainer = begun();
    trainer.fit(data()).unwrap();
    let expected: Vec<f32> = by_hand(EPOCHS * 2).iter().map(|&v| v as f32).collect();
    let found = &trainer.parameters().unwrap()[0];
    assert!(squared_error(found, &expected) < 1e-10, "{found:?} where {expected:?} are due");
}

/// Files hold the moments of both, and go on from each step of a turn.
#[test]
fn they_go_on_from_a_file() {
    let mut whole = begun();
    whole.fit(data()).unwrap();
    let whole = whole.parameters().unwrap();
    for steps in [1, 2, 3, 31] {
        let mut trainer = begun();
        trainer.load(data()).unwrap();
        trainer.step(steps).unwrap();
        report(&mut trainer).ok();
        let snapshot = trainer.snapshot().unwrap();
        let mut again = Trainer::restore(&gpu(), run(), &snapshot).unwrap();
        again.fit(data()).unwrap();
        let found = again.parameters().unwrap();
        let same = match gpu().kind() {
            AdapterKind::Software => found == whole,
            AdapterKind::Hardware => squared_error(&found[0], &whole[0]) < 1e-10,
        };
        assert!(same, "after {steps} steps: {found:?} where {whole:?} are due");
    }
}

/// Moments go by the order of steps: a run with another order is another run.
#[test]
fn another_order_is_another_run() {
    let mut trainer = begun();
    trainer.load(data()).unwrap();
    trainer.step(4).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    let mut other = run();
    other.phases[0].steps.reverse();
    match Trainer::restore(&gpu(), other, &snapshot) {
        Err(Error::Checkpoint { .. }) => {}
        other => panic!("{:?}", other.map(drop)),
    }
}

/// What cannot be two players is refused by name.
#[test]
fn what_is_no_players_is_refused() {
    let refused = |change: &dyn Fn(&mut Phase)| {
        let mut run = run();
        change(&mut run.phases[0]);
        match Trainer::new(&gpu(), run).map(drop) {
            Err(Error::Spec { field, value, .. }) => (field, value),
            other => panic!("{other:?}"),
        }
    };
    let twice = refused(&|phase| {
        let again = phase.steps[0].updates[0].clone();
        phase.steps[0].updates.push(again);
    });
    assert_eq!(twice, ("phases[\"both\"].steps[\"towards\"].updates".into(), "\"w\" twice".into()));
    let averages = refused(&|phase| phase.steps.iter_mut().for_each(|step| step.updates[0].average = Some(0.9)));
    assert_eq!(averages, ("phases[\"both\"].steps".into(), "averages of \"w\" in 2 of its updates".into()));
    let many = refused(&|phase| {
        let more = (2..17).map(|i| Step { name: format!("{i}"), ..phase.steps[0].clone() });
        let more: Vec<Step> = more.collect();
        phase.steps.extend(more);
    });
    assert_eq!(many, ("phases[\"both\"].steps".into(), "\"w\" in 17 of its updates".into()));
}
