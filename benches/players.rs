//! Two players beside the same two alone: the step `players` of an adversarial autoencoder, which trains the autoencoder and its
//! discriminator, against a trainer of that autoencoder and one of a classifier of the discriminator's size on as many rows, which
//! shares nothing with it. Beside them a whole turn, with the generator's step, which neither of the two alone has. Rounds of all
//! four, so that what else the machine does falls on all alike: `cargo bench --bench players`.

#[path = "common/statistics.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod statistics;

use std::time::Instant;

use statistics::median;
use strait::graph::Sink;
use strait::model::Prior;
use strait::train::{Discriminator, Phase, Run, Step, Trainer, Update};
use strait::{Activation, Data, Draw, Gpu, Layer, Loss, Result, Spec, Training};

const BATCH: usize = 128;
const ROUNDS: usize = 31;
/// Turns of a round.
const TURNS: u64 = 8;

/// The models: a digit's size, and one whose products are not a matter of dispatches.
const WIDTHS: [[usize; 3]; 2] = [[64, 256, 8], [784, 1000, 32]];

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    println!("{}, batch {BATCH}, medians of {ROUNDS} rounds of {TURNS}", gpu.adapter().name);
    println!(
        "{:<16} {:>12} {:>14} {:>12} {:>8} {:>12}",
        "model", "players", "autoencoder", "classifier", "ratio", "whole turn"
    );
    for widths in WIDTHS {
        let mut trainers =
            [players(&gpu, widths, 1)?, alone(&gpu, widths)?, classifier(&gpu, widths[2])?, players(&gpu, widths, 2)?];
        let (mut times, mut ratios, mut turns) = ([const { vec![] }; 4], vec![], vec![]);
        for _ in 0..ROUNDS {
            let mut seconds = [0.0; 4];
            for (trainer, seconds) in trainers.iter_mut().zip(&mut seconds) {
                take(trainer, 1)?;
                let begun = Instant::now();
                take(trainer, TURNS)?;
                *seconds = begun.elapsed().as_secs_f64() / TURNS as f64;
            }
            times.iter_mut().zip(seconds).for_each(|(times, seconds)| times.push(seconds * 1e3));
            ratios.push(seconds[0] / (seconds[1] + seconds[2]));
            turns.push(seconds[3] / (seconds[1] + seconds[2]));
        }
        let [both, first, second, _] = times.map(|times| median(&times));
        let name = widths.map(|width| width.to_string()).join("-");
        println!(
            "{name:<16} {both:>9.2} ms {first:>11.2} ms {second:>9.2} ms {:>8.3} {:>12.3}",
            median(&ratios),
            median(&turns)
        );
    }
    Ok(())
}

fn training() -> Training {
    Training { batch: BATCH, epochs: 1 << 32, learning_rate: 1e-4, ..Training::default() }
}

fn spec(widths: [usize; 3]) -> Spec {
    Spec::symmetric(&widths, Activation::Elu).loss(Loss::Bernoulli)
}

fn hidden() -> Layer {
    Layer { activation: Activation::LeakyRelu, ..Layer::new(128) }
}

fn rows(width: usize, batch: usize) -> Result<Data> {
    let draw = Draw { seed: 1, stream: 0, step: 0 };
    Data::from_rows(width, (0..4 * batch * width).map(|i| draw.uniform(i / width, i % width) as f32).collect())
}

/// A trainer whose kernels are those that long runs change to.
fn begun(gpu: &Gpu, run: Run, data: Data) -> Result<Trainer> {
    let mut trainer = Trainer::new(gpu, run)?;
    for progress in trainer.fit_iter(data)?.take(2) {
        progress?;
    }
    Ok(trainer)
}

/// So many of the first steps of an adversarial autoencoder's turn.
fn players(gpu: &Gpu, widths: [usize; 3], steps: usize) -> Result<Trainer> {
    let discriminator = Discriminator::new(Prior::Normal, [hidden(), hidden()]);
    let mut run = Run::adversarial(&spec(widths), &discriminator, &training())?;
    run.phases[0].steps.truncate(steps);
    begun(gpu, run, rows(widths[0], BATCH)?)
}

fn alone(gpu: &Gpu, widths: [usize; 3]) -> Result<Trainer> {
    begun(gpu, Run::of(&spec(widths), &[])?.then_fine_tune(&training())?, rows(widths[0], BATCH)?)
}

/// On as many rows as a discriminator sees: draws and codes.
fn classifier(gpu: &Gpu, code: usize) -> Result<Trainer> {
    let layers = [hidden(), hidden(), Layer::new(1)];
    let (mut run, player) = Run::new(vec![], vec![])?.with_player("classifier", code, &layers)?;
    let mut g = run.graph();
    let row = g.gather(code + 1, true);
    let (x, label) = (g.slice(row, 0, code)?, g.slice(row, code, 1)?);
    let logits = player.forward(&mut g, x)?;
    let each = g.map([logits, label], |[z, y]| z.softplus() - z * y)?;
    let cost = g.batch_mean(each)?;
    g.term("cost", cost);
    let wanted = player.params().map(|i| g.param(i)).collect::<Result<Vec<_>>>()?;
    for (i, gradient) in player.params().zip(g.gradient(cost, &wanted)?) {
        g.sink(Sink::Gradient(i), gradient);
    }
    let step = Step::new("classifier", g, [Update::adam([player.set()], 1e-4)]);
    run.phases = vec![Phase { batch: 2 * BATCH, epochs: 1 << 32, ..Phase::new("classifier", [step]) }];
    begun(gpu, run, rows(code + 1, 2 * BATCH)?)
}

/// Takes turns and waits until they are done.
fn take(trainer: &mut Trainer, turns: u64) -> Result<()> {
    let each = trainer.phase().map_or(1, |phase| phase.steps.iter().map(|step| step.repeat).sum());
    let mut left = turns * each;
    while left > 0 {
        left -= trainer.step(left)?.steps();
        trainer.gpu().wait()?;
        while trainer.progress()?.is_some() {}
    }
    Ok(())
}
