//! Bars and stripes of 3 x 3 pixels: 14 patterns, of which everything can be summed.

use strait::rbm::{Gibbs, Rbm};
use strait::train::{Trainer, Update};
use strait::{Data, Decay, Draw, Gpu, Optimizer, Schedule};

use super::bar::Progress;
use super::outcome::Outcome;

/// Hidden units.
pub const HIDDEN: usize = 16;
/// Persistent chains.
pub const CHAINS: usize = 100;
/// The learning rate at the start and at the end, between which it falls along a line.
pub const RATES: [f64; 2] = [0.051, 0.001];
/// The standard deviation of the weights at the start.
pub const SPREAD: f64 = 0.1;

/// What is compared: its name, how it trains, and mean and deviation of ten runs elsewhere after 20,000 steps.
pub const WAYS: [(&str, Gibbs, [f64; 2]); 3] = [
    ("CD-1", Gibbs::Contrastive { steps: 1 }, [-3.070, 0.035]),
    ("PCD-1", Gibbs::Persistent { steps: 1, chains: CHAINS }, [-2.741, 0.016]),
    ("PCD-5", Gibbs::Persistent { steps: 5, chains: CHAINS }, [-2.702, 0.005]),
];

/// All states of so many binary pixels.
fn states(pixels: usize) -> Vec<Vec<f32>> {
    (0..1u32 << pixels).map(|bits| (0..pixels).map(|i| (bits >> i & 1) as f32).collect()).collect()
}

/// The 14 patterns: every choice of columns, every choice of rows.
pub fn patterns() -> Vec<Vec<f32>> {
    let all = states(3).into_iter().flat_map(|on| [on.repeat(3), on.into_iter().flat_map(|v| [v; 3]).collect()]);
    let mut found: Vec<Vec<f32>> = Vec::new();
    // No column is no row, and all columns are all rows.
    for pattern in all {
        if !found.contains(&pattern) {
            found.push(pattern);
        }
    }
    found
}

/// The mean of log p over all patterns after so many steps: log p(v) = −F(v) − log Z, and Z is the sum of exp(−F) over all 512
/// states. The best possible is −log 14.
pub fn learn(gpu: &Gpu, gibbs: Gibbs, seed: u64, steps: u64, progress: &Progress) -> Outcome<f64> {
    let patterns = patterns();
    let rbm = Rbm { gibbs, ..Rbm::new(9, HIDDEN) };
    let decay = Decay::Linear { to: RATES[1] / RATES[0], steps: Some(steps) };
    let schedule = Schedule { decay, ..Schedule::default() };
    let update = Update { optimizer: Optimizer::SGD, schedule, ..Update::adam([Rbm::PARAMETERS], RATES[0]) };
    // Every step sees all patterns.
    let mut trainer = Trainer::new(gpu, rbm.run(patterns.len(), steps, update, seed)?)?;
    let mut start = rbm.initial(seed)?;
    let draw = Draw { seed, stream: 0, step: 0 };
    start[0].iter_mut().enumerate().for_each(|(i, w)| *w = (SPREAD * draw.normal(i, 0)) as f32);
    trainer.set_parameters(&start)?;
    trainer.fit_with(Data::from_rows(9, patterns.concat())?, |report| progress.told(report))?;

    let mut energies = rbm.free_energies(gpu, &trainer.parameters()?)?;
    let z: f64 = energies.of(&states(9).concat())?.into_iter().map(|energy| (-f64::from(energy)).exp()).sum();
    let found = energies.of(&patterns.concat())?;
    Ok(found.iter().map(|&energy| -f64::from(energy)).sum::<f64>() / found.len() as f64 - z.ln())
}
