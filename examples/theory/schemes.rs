//! Rows 38 and 39: schemes of training that follow no gradient of a loss. Here row 38; `recirculation` holds the other.

use strait::rbm::{Gibbs, Rbm, Units};
use strait::train::{Trainer, Update};
use strait::{Data, Gpu, Optimizer};

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
    let all = states(4);
    let drawn: Vec<Vec<f64>> =
        wide(&narrow(&values(&normal(240, 2, seed, 43)))).chunks(2).map(<[f64]>::to_vec).collect();
    for (machine, rows, what) in [(&coins, &all, "coins"), (&normals, &drawn, "normal units")] {
        let expected: Vec<f64> = rows.iter().map(|v| machine.free_energy(v)).collect();
        let found = energies(gpu, machine, rows)?;
        checks.push(Check::all_equal(format!("F = -log sum over h of exp(-E), {what}"), &expected, &found, 1e-5));
    }
    let (log_z, found) = (coins.log_z(), energies(gpu, &coins, &all)?);
    let probabilities = found.iter().map(|energy| (-energy - log_z).exp());
    checks.push(Check::equal("sum over v of exp(-F) / Z, Z over all states", 1.0, probabilities.sum::<f64>(), 1e-5));

    // Four patterns that are not the machine's own, 64 of each.
    let patterns = repeated(&[3, 3, 5, 8].map(|i| all[i].clone()), 64);
    for (machine, rows, steps, what) in [
        (&coins, &patterns, 1, "coins, CD-1"),
        (&coins, &patterns, 3, "coins, CD-3"),
        (&normals, &drawn, 1, "normal units, CD-1"),
    ] {
        let apart = direction(gpu, machine, rows, steps, seed)?;
        checks.push(Check::at_most(format!("standard errors from the mean direction, {what}"), 5.0, apart));
    }
    Ok(checks)
}

/// Free energies by the GPU.
fn energies(gpu: &Gpu, machine: &Machine, rows: &[Vec<f64>]) -> Outcome<Vec<f64>> {
    let rbm = machine.rbm(Gibbs::default());
    Ok(wide(&rbm.free_energies(gpu, &machine.parameters(), &narrow(&rows.concat()))?))
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
