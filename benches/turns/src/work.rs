//! The workloads, with no more of strait's interface than old commits have too; specs are text.

use std::io::{BufRead, Write};
use std::time::Instant;

use strait::{Data, Gpu, Session, Spec, Training};

use crate::Outcome;

/// The workloads, in the order of the table.
pub const NAMES: [&str; 8] =
    ["train-784", "train-small", "train-deep", "contractive", "vae", "encode", "first-step", "host"];

/// The one whose steps are whole processes.
pub const FIRST_STEP: &str = "first-step";

/// Batches of training data.
const BATCHES: usize = 4;

/// Rows that are encoded in a step of `encode`.
const ENCODED: usize = 20_000;

/// Steps in a submit of `host`: what a device gets that takes two milliseconds for one.
const SUBMITTED: u64 = 25;

/// What a workload does when it is told to take so many steps: the seconds that they took.
type Run = Box<dyn FnMut(u64) -> Outcome<f64>>;

/// Makes a workload ready and says so; then reads numbers of steps, line by line, and answers with the seconds that they
/// took.
///
/// # Errors
/// What strait reports.
pub fn work(name: &str) -> Outcome {
    let mut say = std::io::stdout();
    if name == FIRST_STEP {
        let (gpu, mut session) = run(&plain(&[784, 300, 150]), 150)?;
        session.step(1)?;
        gpu.wait()?;
        return Ok(writeln!(say, "done")?);
    }
    let mut run = ready(name)?;
    writeln!(say, "ready")?;
    for line in std::io::stdin().lock().lines() {
        writeln!(say, "{:e}", run(line?.trim().parse()?)?)?;
        say.flush()?;
    }
    Ok(())
}

fn ready(name: &str) -> Outcome<Run> {
    let hidden = |rest: &str| {
        "input = 784\nencoder = [{ units = 256, activation = \"CODE\" }]\ndecoder = [{ units = 784 }]\n".to_string()
            + rest
    };
    match name {
        "train-784" => train(&plain(&[784, 300, 150]), 150),
        "train-small" => train(&plain(&[128, 64, 32]), 16),
        "train-deep" => train(&plain(&[784, 1000, 500, 250, 30]), 128),
        "contractive" => {
            let spec = hidden("loss = \"squared_error\"\npenalties = [{ kind = \"contractive\", weight = 0.1 }]\n");
            train(&spec.replace("CODE", "sigmoid"), 128)
        }
        "vae" => {
            let spec = hidden("loss = \"bernoulli\"\nlatent = { kind = \"gaussian\", beta = 1.0 }\n");
            train(&spec.replace("CODE", "identity"), 128)
        }
        "encode" => encode(),
        "host" => host(),
        _ => Err(format!("there is no workload {name:?}, but {}", NAMES.join(", ")).into()),
    }
}

/// An autoencoder of these widths from the input to the code, and mirrored: ReLU in every layer but the last, and the
/// squared error, mean over features.
fn plain(widths: &[usize]) -> String {
    let relu = |units: &usize| format!("{{ units = {units}, activation = \"relu\" }}");
    let encoder: Vec<String> = widths[1..].iter().map(relu).collect();
    let mut decoder: Vec<String> = widths[1..widths.len() - 1].iter().rev().map(relu).collect();
    decoder.push(format!("{{ units = {} }}", widths[0]));
    format!(
        "input = {}\nloss = \"mse\"\nencoder = [{}]\ndecoder = [{}]\n",
        widths[0],
        encoder.join(", "),
        decoder.join(", ")
    )
}

fn training(batch: usize) -> Training {
    Training { learning_rate: 1e-4, batch, epochs: 1 << 32, ..Training::default() }
}

/// Smooth rows in (0, 1), the same in every process.
fn rows(count: usize, columns: usize) -> Vec<f32> {
    let value = |row: usize, column: usize| {
        let (place, width) = ((row * 7919 % 1000) as f32 / 1000.0, 0.05 + (row * 104_729 % 300) as f32 / 1000.0);
        let apart = (column as f32 / columns as f32 - place) / width;
        0.1 + 0.8 / (1.0 + apart * apart)
    };
    (0..count * columns).map(|i| value(i / columns, i % columns)).collect()
}

/// A session with its data loaded.
fn run(spec: &str, batch: usize) -> Outcome<(Gpu, Session)> {
    let (gpu, spec) = (Gpu::new()?, Spec::from_toml(spec)?);
    let mut session = Session::new(&gpu, &spec, training(batch))?;
    session.load(Data::from_rows(spec.input, rows(batch * BATCHES, spec.input))?)?;
    Ok((gpu, session))
}

fn train(spec: &str, batch: usize) -> Outcome<Run> {
    let (gpu, spec) = (Gpu::new()?, Spec::from_toml(spec)?);
    let mut session = Session::new(&gpu, &spec, training(batch))?;
    // A whole run changes to faster kernels after its first reports.
    for progress in session.fit_iter(Data::from_rows(spec.input, rows(batch * BATCHES, spec.input))?)?.take(5) {
        progress?;
    }
    Ok(Box::new(move |steps| {
        let begun = Instant::now();
        let mut left = steps;
        while left > 0 {
            let taken = u64::from(session.step(left)?);
            left -= taken;
            if taken == 0 {
                // As many submits as may be are in flight: their reports must be read before the next.
                gpu.wait()?;
                while session.progress()?.is_some() {}
            }
        }
        gpu.wait()?;
        let seconds = begun.elapsed().as_secs_f64();
        while session.progress()?.is_some() {}
        Ok(seconds)
    }))
}

fn encode() -> Outcome<Run> {
    let spec = Spec::from_toml(&plain(&[784, 300, 150]))?;
    let mut session = Session::new(&Gpu::new()?, &spec, training(150))?;
    let rows = rows(ENCODED, spec.input);
    Ok(Box::new(move |steps| {
        // Older versions encode by an exclusive reference.
        let session = &mut session;
        let begun = Instant::now();
        for _ in 0..steps {
            session.encode(&rows)?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }))
}

/// Submitting training steps to a device that does nothing: only what the host takes is left.
fn host() -> Outcome<Run> {
    let (device, queue) = strait::wgpu::Device::noop(&strait::wgpu::DeviceDescriptor::default());
    let gpu = Gpu::adopt(device, queue);
    let spec = Spec::from_toml(&plain(&[784, 300, 150]))?;
    let mut session = Session::new(&gpu, &spec, training(150))?;
    session.load(Data::from_rows(784, rows(150 * BATCHES, 784))?)?;
    Ok(Box::new(move |steps| {
        let (mut left, mut seconds) = (steps, 0.0);
        while left > 0 {
            let begun = Instant::now();
            let taken = u64::from(session.step(left.min(SUBMITTED))?);
            seconds += begun.elapsed().as_secs_f64();
            left -= taken;
            if taken == 0 {
                gpu.wait()?;
                while session.progress()?.is_some() {}
            }
        }
        Ok(seconds)
    }))
}
