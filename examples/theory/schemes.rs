//! Rows 38 and 39: schemes of training that follow no gradient of a loss. Here row 38; `recirculation` holds the other.

use std::f64::consts::TAU;

use strait::rbm::{Gibbs, Rbm, Units};
use strait::train::{Trainer, Update};
use strait::{Data, Gpu, Optimizer, Session, Training};

use super::Row;
use super::boltzmann::{Machine, repeated, states};
use super::check::Check;
use super::linear::{narrow, normal, values, wide};
use super::outcome::Outcome;
use super::recirculation;

/// The rows of this section.
pub const ROWS: &[Row] = &[
    Row { number: 38, name: "restricted Boltzmann machines, contrastive divergence", run: machines, slow: None },
    Row { number: 39, name: "recirculation", run: recirculation::recirculation, slow: None },
];

/// Row 38.
fn machines(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let coins = Machine::drawn(4, 3, Units::Bernoulli, 1.5, seed);
    let normals = Machine::drawn(2, 3, Units::Gaussian, 1.2, seed);
    let linear = Machine::drawn(4, 2, Units::Bernoulli, 1.0, seed).with_normal_hidden();
    let all = states(4);
    let drawn: Vec<Vec<f64>> =
        wide(&narrow(&values(&normal(240, 2, seed, 43)))).chunks(2).map(<[f64]>::to_vec).collect();
    for (machine, rows, what) in
        [(&coins, &all, "coins"), (&normals, &drawn, "normal units"), (&linear, &all, "normal hidden units")]
    {
        let expected: Vec<f64> = rows.iter().map(|v| machine.free_energy(v)).collect();
        let found = energies(gpu, machine, rows)?;
        checks.push(Check::all_equal(format!("F = -log sum over h of exp(-E), {what}"), &expected, &found, 1e-5));
    }
    // Z of binary units over all states of both kinds; of normal ones in closed form, against the GPU's F over a grid.
    for (machine, expected, what) in [
        (&coins, joint(&coins, &all), "all states of v and h"),
        (&normals, mixture(&normals), "a mixture of 8 normals"),
        (&linear, quadratic(&linear, &all), "exp(a'v + ||v W + b||^2 / 2)"),
    ] {
        let (cell, grid) = (machine.visible_cell(), machine.visible_states());
        let sum: f64 = energies(gpu, machine, &grid)?.into_iter().map(|energy| (-energy).exp()).sum();
        checks.push(Check::equal(format!("log Z by {what}"), expected, (cell * sum).ln(), 1e-5));
    }

    // Four patterns that are not the machine's own, 64 of each.
    let patterns = repeated(&[3, 3, 5, 8].map(|i| all[i].clone()), 64);
    for (machine, rows, steps, what) in [
        (&coins, &patterns, 1, "coins, CD-1"),
        (&coins, &patterns, 3, "coins, CD-3"),
        (&normals, &drawn, 1, "normal units, CD-1"),
        (&linear, &patterns, 1, "normal hidden, CD-1"),
    ] {
        let apart = direction(gpu, machine, rows, steps, seed)?;
        checks.push(Check::at_most(format!("standard errors from the mean direction, {what}"), 5.0, apart));
    }
    // Coins would agree on 216 ± 10.4 of 432: this is 5 deviations more.
    let mut agree = 0;
    for machine in 0..8 {
        agree += signs(gpu, &Machine::drawn(9, 6, Units::Bernoulli, 0.5, seed.wrapping_add(machine)))?;
    }
    checks.push(Check::at_least("of 432 weights, CD-1's signs: the autoencoder's gradient", 268, agree));
    Ok(checks)
}

/// log Z of binary units by the sum over both kinds.
fn joint(machine: &Machine, all: &[Vec<f64>]) -> f64 {
    let hidden = states(machine.hidden);
    all.iter().flat_map(|v| hidden.iter().map(|h| (-machine.energy(v, h)).exp())).sum::<f64>().ln()
}

/// log Z of normal visible units: each h brings a normal density around a + W h, of the weight exp(b'h + ½ ||a + W h||² − ½ ||a||²).
fn mixture(machine: &Machine) -> f64 {
    let squares = |v: &[f64]| 0.5 * v.iter().map(|v| v * v).sum::<f64>();
    let weight = |h: &Vec<f64>| {
        let linear: f64 = h.iter().zip(&machine.b).map(|(h, b)| h * b).sum();
        (linear + squares(&machine.visible_given(h)) - squares(&machine.a)).exp()
    };
    let weights: f64 = states(machine.hidden).iter().map(weight).sum();
    weights.ln() + 0.5 * machine.visible as f64 * TAU.ln()
}

/// log Z of binary visible and normal hidden units.
fn quadratic(machine: &Machine, all: &[Vec<f64>]) -> f64 {
    let weight = |v: &Vec<f64>| {
        let own: f64 = v.iter().zip(&machine.a).map(|(v, a)| v * a).sum();
        (own + 0.5 * machine.hidden_given(v).iter().map(|z| z * z).sum::<f64>()).exp()
    };
    all.iter().map(weight).sum::<f64>().ln()
}

/// On how many weights the gradient of the autoencoder's loss agrees in sign with the mean direction of CD-1 on bars and stripes of
/// 3 x 3 (Bengio and Delalleau, "Justifying and generalizing contrastive divergence", 2009, section 5).
fn signs(gpu: &Gpu, machine: &Machine) -> Outcome<u32> {
    let columns = states(3).into_iter().map(|on| on.repeat(3));
    let rows = states(3).into_iter().map(|on| on.into_iter().flat_map(|v| [v; 3]).collect());
    // All off and all on are both.
    let patterns: Vec<Vec<f64>> = columns.chain(rows.skip(1).take(6)).collect();
    let model = machine.rbm(Gibbs::default()).model(gpu, &machine.parameters())?;
    let (optimizer, batch) = (Optimizer::SGD, patterns.len());
    let training = Training { optimizer, learning_rate: 1.0, batch, epochs: 1, ..Training::default() };
    let mut session = Session::of(&model, training)?;
    session.fit(Data::from_rows(machine.visible, narrow(&patterns.concat()))?)?;
    let after = wide(&session.parameter("encoder.0.weight")?);
    let moved = machine.w.iter().zip(&after).map(|(before, after)| before - after);
    let agree = moved.zip(machine.direction(&patterns, 1)).filter(|(gradient, direction)| gradient * direction > 0.0);
    Ok(agree.count() as u32)
}

/// Free energies by the GPU.
fn energies(gpu: &Gpu, machine: &Machine, rows: &[Vec<f64>]) -> Outcome<Vec<f64>> {
    let rbm = machine.rbm(Gibbs::default());
    Ok(wide(&rbm.free_energies(gpu, &machine.parameters())?.of(&narrow(&rows.concat()))?))
}

/// How many standard errors the mean of 100 directions of training is at most away from the mean over all that may be drawn.
fn direction(gpu: &Gpu, machine: &Machine, rows: &[Vec<f64>], steps: usize, seed: u64) -> Outcome<f64> {
    const DRAWS: usize = 100;
    // A step of rate 1 of plain descent goes by the direction itself.
    let update = Update { optimizer: Optimizer::SGD, ..Update::adam([Rbm::PARAMETERS], 1.0) };
    let run = machine.rbm(Gibbs::Contrastive { steps }).run(rows.len(), DRAWS as u64, update, seed)?;
    let mut trainer = Trainer::new(gpu, run)?;
    trainer.load(Data::from_rows(machine.visible, narrow(&rows.concat()))?)?;
    let start = machine.parameters();
    let mut found: Vec<Vec<f64>> = Vec::new();
    for _ in 0..DRAWS {
        trainer.set_parameters(&start)?;
        trainer.step(1)?;
        let after = trainer.parameters()?;
        let moved = wide(&start.concat()).into_iter().zip(wide(&after.concat())).map(|(before, after)| before - after);
        found.push(moved.collect());
        while trainer.progress()?.is_some() {}
    }
    let apart = machine.direction(rows, steps).into_iter().enumerate().map(|(i, expected)| {
        let count = DRAWS as f64;
        let mean = found.iter().map(|moved| moved[i]).sum::<f64>() / count;
        let squares = found.iter().map(|moved| (moved[i] - mean).powi(2)).sum::<f64>();
        // Where nothing is drawn, what rounding leaves.
        (mean - expected).abs() / ((squares / (count * (count - 1.0))).sqrt() + 2e-7)
    });
    Ok(apart.fold(0.0, f64::max))
}
