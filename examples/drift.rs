//! A model that follows what it sees: `cargo run --release --example drift`. Each frame some readings of a machine come in,
//! whose bearing wears, and the model trains for a part of the frame on the last ones. A copy that stays as it was loses its
//! way; printed are the errors of both, and how long the longest call took.

#[path = "common/outcome.rs"]
mod outcome;

use std::time::{Duration, Instant};

use clap::Parser;
use outcome::Outcome;
use strait::Draw;
use strait::train::Ring;
use strait::{Activation, Gpu, Session, Spec, Taken, Training};

/// Trains on readings as they come in.
#[derive(Parser)]
struct Options {
    /// Frames before, while and after the bearing wears, each
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// Milliseconds of a frame that training may take on the device
    #[arg(long, default_value_t = 4.0)]
    budget: f64,
    /// Seeds weights and readings
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    json: bool,
}

/// Values of a reading: a spectrum of that many bands.
const BANDS: usize = 32;

/// Readings that come in at a time, and those that the model remembers.
const NEW: usize = 16;
const LAST: usize = 2048;

/// Steps before the first frame.
const BEFORE: u64 = 3000;

/// A frame of a host that draws sixty a second.
const FRAME: Duration = Duration::from_micros(16_667);

/// Readings of a bearing that is worn so far, from 0 to 1: two peaks, which move apart and whose heights go together with the
/// load that the machine happens to have.
fn readings(draw: Draw, count: usize, worn: f64) -> Vec<f32> {
    let band = |reading: usize, band: usize| {
        let at = |i: usize| draw.uniform(reading, i);
        let (load, shift) = (at(0), 2.0 * at(1));
        let peak = |centre: f64, width: f64| (-((band as f64 - centre - shift) / width).powi(2)).exp();
        let noise = 0.01 * (at(2 + band) - 0.5);
        (load * peak(8.0 - 5.0 * worn, 2.0) + (1.0 - load) * peak(18.0 + 6.0 * worn, 3.0) + noise) as f32
    };
    (0..count).flat_map(|reading| (0..BANDS).map(move |b| band(reading, b))).collect()
}

fn main() -> std::process::ExitCode {
    outcome::exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let budget = Duration::try_from_secs_f64(options.budget / 1e3)
        .ok()
        .filter(|budget| !budget.is_zero())
        .ok_or_else(|| format!("--budget is {}, allowed: milliseconds above 0", options.budget))?;
    let gpu = Gpu::new()?;
    let draw = |step: u32| Draw { seed: options.seed, stream: 1, step };
    let spec = Spec::symmetric(&[BANDS, 24, 4], Activation::Elu);
    let training = Training { epochs: 1 << 40, batch: 32, seed: options.seed, ..Training::default() };
    let ring = Ring::uniform(&gpu, BANDS, LAST)?;
    ring.push(&readings(draw(0), LAST, 0.0))?;
    let mut session = Session::new(&gpu, &spec, training)?;
    session.load(&ring)?;
    // What is there is learned before the first frame.
    while session.steps() < BEFORE {
        session.step(BEFORE - session.steps())?;
        gpu.wait()?;
        while session.progress()?.is_some() {}
    }
    let mse = |session: &Session, worn: f64| -> Outcome<f64> {
        let rows = readings(draw(u32::MAX), 500, worn);
        let found = session.reconstruct(&rows)?;
        let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        Ok(found.iter().zip(&rows).map(square).sum::<f64>() / rows.len() as f64)
    };
    let (mut longest, mut steps, mut still) = (Duration::ZERO, 0, None);
    println!("{:>6} {:>6} {:>12} {:>12}  {:>6}", "frame", "worn", "follows", "stays", "steps");
    let (mut figures, third) = (Vec::new(), f64::from(options.frames));
    for frame in 1..=3 * options.frames {
        let begun = Instant::now();
        let worn = ((f64::from(frame) - third) / third).clamp(0.0, 1.0);
        let new = readings(draw(frame), NEW, worn);
        // What the host does for training in a frame, and how long it keeps it.
        let called = Instant::now();
        ring.push(&new)?;
        while session.progress()?.is_some() {}
        match session.step_for(budget)? {
            Taken::Steps(taken) => steps += taken,
            Taken::Part | Taken::Busy => {}
            other => return Err(format!("training is {other:?} after {steps} steps").into()),
        }
        longest = longest.max(called.elapsed());
        std::thread::sleep(FRAME.saturating_sub(begun.elapsed()));
        if frame == options.frames {
            still = Some(Session::restore(&gpu, &session.snapshot()?)?);
        }
        if frame % (options.frames / 2).max(1) == 0 {
            let (follows, stays) = (mse(&session, worn)?, still.as_ref().map(|still| mse(still, worn)).transpose()?);
            let stays_text = stays.map(|stays| format!("{stays:.6}")).unwrap_or_default();
            println!("{frame:>6} {worn:>6.2} {follows:>12.6} {stays_text:>12}  {steps:>6}");
            figures.push(serde_json::json!({ "worn": worn, "follows": follows, "stays": stays }));
        }
    }
    let milliseconds = longest.as_secs_f64() * 1e3;
    println!("the longest call for training in a frame took {milliseconds:.1} ms");
    if options.json {
        println!("{}", serde_json::json!({ "errors": figures, "steps": steps, "longest_call_ms": milliseconds }));
    }
    Ok(())
}
