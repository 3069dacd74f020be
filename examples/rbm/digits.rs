//! A machine that learns the embedded digits: what its hidden units look at, and what it dreams.

use std::path::Path;

use strait::rbm::{Gibbs, Rbm};
use strait::train::{Trainer, Update};
use strait::{Data, Decay, Draw, Gpu, Optimizer, Schedule};

use super::bar::Progress;
use super::chart::Tiles;
use super::features::neighbour_correlation;
use super::outcome::Outcome;
use super::panel::{Group, Ink, panel};

/// Hidden units.
pub const HIDDEN: usize = 128;
/// Rows of a batch, and persistent chains.
const BATCH: usize = 100;
/// The learning rate at the start, and the part of it to which it falls along a line.
const RATE: f64 = 0.1;
const LAST: f64 = 0.01;
/// Passes over the digits for each that a machine of the stack makes.
const LONGER: u64 = 10;
/// Dreams: chains that start at noise, and the Gibbs steps that they take.
const DREAMS: usize = 60;
const STEPS: u64 = 2000;

/// Learns, draws, and says how alike neighbouring pixels are in digits, dreams and filters; noise has about 0.
pub fn learn(
    gpu: &Gpu,
    digits: &Data,
    [seed, epochs]: [u64; 2],
    [dreams, filters]: [&Path; 2],
    progress: &Progress,
) -> Outcome<serde_json::Value> {
    let (pixels, epochs) = (digits.columns(), LONGER * epochs);
    // Black or white: chains draw such rows, and would be told from grey ones by that alone.
    let digits = Data::from_rows(pixels, digits.values().iter().map(|v| v.round()).collect())?;
    let rbm = Rbm { gibbs: Gibbs::Persistent { steps: 1, chains: BATCH }, ..Rbm::new(pixels, HIDDEN) };
    let schedule = Schedule { decay: Decay::Linear { to: LAST, steps: None }, ..Schedule::default() };
    let update = Update { optimizer: Optimizer::SGD, schedule, ..Update::adam([Rbm::PARAMETERS], RATE) };
    let mut trainer = Trainer::new(gpu, rbm.run(BATCH, epochs, update, seed)?)?;
    let mut start = rbm.initial(seed)?;
    start[2] = log_odds(&digits);
    trainer.set_parameters(&start)?;
    progress.begin(format!("{pixels}-{HIDDEN}, PCD-1"));
    trainer.fit_with(&digits, |report| progress.told(report))?;
    let parameters = trainer.parameters()?;

    let draw = Draw { seed, stream: 0, step: 0 };
    let noise: Vec<f32> = (0..DREAMS * pixels).map(|i| draw.uniform(i, 0).round() as f32).collect();
    let mut chains = rbm.sampler(gpu, &parameters, &noise, seed)?;
    chains.advance(STEPS)?;
    // The mean of v given that of h: grey says more than the last draw.
    let dreamed = rbm.model(gpu, &parameters)?.reconstruct(&chains.rows()?)?;
    let units: Vec<Vec<f32>> =
        (0..HIDDEN).map(|j| parameters[0].iter().skip(j).step_by(HIDDEN).copied().collect()).collect();
    let side = pixels.isqrt();

    let tiles = Tiles {
        title: "60 digits that a restricted Boltzmann machine dreams",
        note: "Chains from noise after 2,000 Gibbs steps: the mean of the visible units",
        side: side as u32,
        columns: 12,
        size: 112,
        gap: 16,
        images: &dreamed,
        ticks: [vec![], vec![]],
        axes: ["", ""],
    };
    tiles.save(dreams)?;
    let rows = units.chunks(16).map(<[Vec<f32>]>::concat).collect();
    let group =
        Group { title: "weights of each unit: red makes it likelier, blue less likely", ink: Ink::Signed, rows };
    panel(filters, "What 128 hidden units look at", "Each to its own scale", (side as u32, 64), &[group])?;

    let [real, dream, filter, noise] =
        [digits.values(), &dreamed, &units.concat(), &noise].map(|images| neighbour_correlation(images, side));
    progress.say(&format!(
        "digits     black or white, {pixels}-{HIDDEN}, PCD-1 with {BATCH} chains, {epochs} epochs of batches of {BATCH},"
    ));
    progress.say(&format!(
        "           SGD, rate {RATE} to {} along a line, weights normal with deviation 0.01 at the start, visible biases log odds",
        RATE * LAST
    ));
    progress.say(&format!(
        "           correlation of neighbouring pixels: digits {real:.2}, dreams {dream:.2}, filters {filter:.2}"
    ));
    progress.say(&format!("           (the noise that dreams start from: {noise:.2})"));
    Ok(serde_json::json!({ "digits": real, "dreams": dream, "filters": filter, "noise": noise }))
}

/// The log odds of each pixel, at which visible biases are best begun (Hinton, "A practical guide to training restricted Boltzmann
/// machines", 2010, section 8); where nothing is ever seen the odds are one to a thousand.
fn log_odds(digits: &Data) -> Vec<f32> {
    let (columns, rows) = (digits.columns(), digits.rows() as f32);
    let mean = |c: usize| digits.values().iter().skip(c).step_by(columns).sum::<f32>() / rows;
    let odds = |p: f32| (p / (1.0 - p)).ln();
    (0..columns).map(|c| odds(mean(c).clamp(0.001, 0.999))).collect()
}
