//! Measures an adapter and what strait makes of it: what memory, arithmetic and the driver can do at best, matrix products,
//! training steps, encoding, and the host's part: `cargo run --release --example benchmark`.

#[path = "../common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "../common/ceiling.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod ceiling;
mod compare;
mod figure;
#[path = "../common/outcome.rs"]
mod outcome;
#[path = "../common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;
#[path = "../common/product.rs"]
mod product;
mod products;
mod roofline;
mod training;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ceiling::{Ceilings, Clock};
use clap::{Parser, ValueEnum};
use figure::{Report, Run};
use indicatif::{ProgressBar, ProgressStyle};
use outcome::Outcome;
use strait::gpu::GpuOptions;
use strait::{Error, Gpu};

/// Measures an adapter and what strait makes of it.
#[derive(Parser)]
struct Options {
    /// Part of an adapter's name; the best one where none is given
    #[arg(long, conflicts_with = "all")]
    adapter: Option<String>,
    /// Measures every adapter, one after the other
    #[arg(long)]
    all: bool,
    /// Seconds for each adapter; what does not fit is left out and named
    #[arg(long, default_value_t = 55.0, value_parser = |text: &str| arguments::within(text, 0.1..=1e6))]
    seconds: f64,
    /// What to measure
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Part::Products, Part::Training, Part::Use])]
    only: Vec<Part>,
    /// Times every tile of every product, however long it takes, and prints each
    #[arg(long)]
    tiles: bool,
    /// Prints where the time of each training step goes, dispatch by dispatch
    #[arg(long)]
    profile: bool,
    /// Folder for benchmark.json and roofline.png; nothing is written without it
    #[arg(long)]
    out: Option<PathBuf>,
    /// Prints all figures as JSON in the last line
    #[arg(long)]
    json: bool,
    /// Destroys the device so many seconds after its ceilings were measured: what was measured until then is still told
    #[arg(long, hide = true, value_parser = |text: &str| arguments::within(text, 0.0..=1e6))]
    lose: Option<f64>,
    /// Compares two reports instead
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"])]
    #[arg(conflicts_with_all = ["adapter", "all", "seconds", "only", "tiles", "profile", "out", "json"])]
    compare: Option<Vec<PathBuf>>,
}

/// What to measure; the ceilings always are.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Matrix products
    Products,
    /// Training steps
    Training,
    /// Encoding, the first step, the host's time for a step
    Use,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    if let Some(files) = &options.compare {
        return compare::print(&files[0], &files[1]);
    }
    for (given, flag, part, name) in [
        (options.tiles, "--tiles", Part::Products, "products"),
        (options.profile, "--profile", Part::Training, "training"),
    ] {
        if given && !options.only.contains(&part) {
            return Err(format!("{flag} is about {name}, which --only leaves out").into());
        }
    }
    let files = options.out.as_ref().map(|folder| [folder.join("benchmark.json"), folder.join("roofline.png")]);
    for file in files.iter().flatten() {
        arguments::writable(file).map_err(|e| format!("--out: {} cannot be written: {e}", file.display()))?;
    }
    let adapters: Vec<GpuOptions> = match options.all {
        false => vec![GpuOptions { adapter: options.adapter.clone(), ..GpuOptions::default() }],
        // By their number, since two may have one name.
        true => (0..Gpu::adapters().len()).map(|at| GpuOptions { index: Some(at), ..GpuOptions::default() }).collect(),
    };
    if adapters.is_empty() {
        // The error that says what was tried.
        Gpu::new()?;
    }
    let mut report = Report::default();
    for adapter in adapters {
        let run = measure(&options, &adapter)?;
        print!("{run}");
        report.adapters.push(run);
    }
    let json = serde_json::to_string(&report)?;
    if let Some([file, picture]) = &files {
        roofline::draw(picture, &report)?;
        std::fs::write(file, &json).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("{}\n{}", file.display(), picture.display());
    }
    if options.json {
        println!("{json}");
    }
    Ok(())
}

/// Everything about one adapter.
fn measure(options: &Options, adapter: &GpuOptions) -> Outcome<Run> {
    let begun = Instant::now();
    let budget = Duration::from_secs_f64(options.seconds);
    let wants = |part: Part| options.only.contains(&part);
    // Time is given out by part; what one leaves the next ones have.
    let parts = [(Part::Use, 0.2), (Part::Training, 0.3), (Part::Products, 1.0)];
    let bar = ProgressBar::new(1 + parts.iter().filter(|(part, _)| wants(*part)).count() as u64);
    bar.set_style(ProgressStyle::with_template("{msg:36} {bar:24} {pos}/{len}  {elapsed}")?);
    let mut run;
    // The first step is that of a fresh device, so it comes before all else.
    let first = wants(Part::Use).then(|| training::first_step(adapter)).transpose()?;
    let gpu = Gpu::with(adapter)?;
    run = Run::new(&gpu);
    run.figures.extend(first);
    bar.set_message(format!("{}: ceilings", gpu.adapter().name));
    let clock = Clock::new(&gpu)?;
    clock.settle(&gpu)?;
    let ceilings = Ceilings::new(&gpu, budget.mul_f64(0.15))?;
    bar.inc(1);
    run.set_ceilings(&ceilings);
    if let Some(seconds) = options.lose {
        let device = gpu.device().clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs_f64(seconds));
            device.destroy();
        });
    }
    for (part, share) in parts.into_iter().filter(|(part, _)| wants(*part)) {
        let what = part.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default();
        bar.set_message(format!("{}: {what}", gpu.adapter().name));
        let deadline = Instant::now() + budget.saturating_sub(begun.elapsed()).mul_f64(share);
        let measured = match part {
            Part::Use => training::using(&gpu, deadline, &mut run),
            Part::Training => training::steps(&gpu, &clock, deadline, options.profile, &mut run),
            Part::Products if options.tiles => products::every_tile(&gpu, &clock, &mut run),
            Part::Products => products::measure(&gpu, &clock, deadline, &mut run),
        };
        match measured {
            Ok(()) => {}
            // What was measured until then is still told.
            Err(error @ Error::DeviceLost { .. }) => {
                run.left_out.push((what, error.to_string()));
                break;
            }
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    run.seconds = begun.elapsed().as_secs_f64();
    Ok(run)
}
