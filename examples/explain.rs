//! Prints the plan of a spec, node by node down to bytes, and writes its shaders; needs no GPU but for `--tune`:
//! `cargo run --release --example explain -- --spec examples/mnist.toml --shaders out/shaders`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/outcome.rs"]
mod outcome;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use outcome::Outcome;
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Limits, Recording, Target};
use strait::model::Purpose;
use strait::train::Optimizer;
use strait::{Gpu, Session, Spec, Training};

/// Prints the plan of a spec: nodes, kernels, slots, bytes.
#[derive(Parser)]
struct Options {
    /// A spec in TOML or JSON; the one of the digits example where none is given
    #[arg(long)]
    spec: Option<PathBuf>,
    /// What the plan is for
    #[arg(long, value_enum, default_value_t = For::Train)]
    purpose: For,
    /// The kind of adapter it is for
    #[arg(long, value_enum, default_value_t = Kind::Hardware)]
    kind: Kind,
    /// The largest batch
    #[arg(long, default_value_t = 128, value_parser = arguments::count::<usize>)]
    batch: usize,
    /// Folder for the WGSL of every distinct kernel
    #[arg(long)]
    shaders: Option<PathBuf>,
    /// Times the products of a training step on this machine's adapter, for so many milliseconds
    #[arg(long, value_name = "MS", value_parser = arguments::count::<u64>)]
    tune: Option<u64>,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum For {
    /// Loss and gradients of a batch
    Train,
    /// Adam's update of all parameters
    Update,
    /// The loss alone
    Evaluate,
    Encode,
    Decode,
    Reconstruct,
    Score,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Shaders run on the CPU
    Software,
    /// A GPU
    Hardware,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let network = Network::new(&read(options.spec.as_deref())?)?;
    let graph = match options.purpose {
        For::Train => network.graph(Purpose::Train, true)?,
        For::Update => Optimizer::ADAM.graph(network.params(), None)?,
        For::Evaluate => network.graph(Purpose::Evaluate, false)?,
        For::Encode => network.graph(Purpose::Encode, false)?,
        For::Decode => network.graph(Purpose::Decode, false)?,
        For::Reconstruct => network.graph(Purpose::Reconstruct, false)?,
        For::Score => network.graph(Purpose::Score, false)?,
    };
    if let Some(folder) = &options.shaders {
        let any = folder.join("any.wgsl");
        arguments::writable(&any).map_err(|e| format!("--shaders {}: {e}", folder.display()))?;
    }
    let kind = match options.kind {
        Kind::Software => AdapterKind::Software,
        Kind::Hardware => AdapterKind::Hardware,
    };
    let (limits, rows) = (Limits::DEFAULT, options.batch);
    let target = Target { kind, limits, rows, data_rows: rows, tile: None, tuning: None, quick: false, optimise: true };
    let recording = Recording::new(&graph, target.clone())?;
    // Not print!, which panics where the reader of a pipe has seen enough.
    let mut out = std::io::stdout().lock();
    for penalty in &network.spec().penalties {
        if let Some(method) = penalty.method(network.spec()) {
            writeln!(out, "the {} penalty is computed by {method:?}", penalty.name())?;
        }
    }
    write!(out, "{recording}")?;
    let mut step = None;
    if let For::Train = options.purpose {
        let update = |clip| -> Outcome<usize> {
            let graph = Optimizer::ADAM.graph(network.params(), clip)?;
            Ok(Recording::new(&graph, Target { rows: 1, ..target.clone() })?.dispatches.len())
        };
        let (own, plain, clipped) = (recording.dispatches.len(), update(None)?, update(Some(1.0))?);
        let all = own + 1 + plain;
        writeln!(
            out,
            "\na training step: {all} dispatches, {own} of this plan, `finish` and {plain} of Adam's update; {} more \
             where gradients are clipped by their norm",
            clipped - plain
        )?;
        step = Some(all);
    }
    if let Some(folder) = &options.shaders {
        let count = write_shaders(&recording, folder)?;
        writeln!(out, "\nwrote {count} shaders to {}", folder.display())?;
    }
    if let Some(milliseconds) = options.tune {
        let training = Training { batch: options.batch, ..Training::default() };
        let mut session = Session::new(&Gpu::new()?, network.spec(), training)?;
        let trials = session.tune(Duration::from_millis(milliseconds))?;
        write!(out, "\n{}\n{trials}", session.gpu().adapter().name)?;
    }
    if options.json {
        let slots = recording.buffers.iter().filter(|(role, _)| role.is_slot());
        let figures = serde_json::json!({
            "dispatches": recording.dispatches.len(),
            "dispatches_a_step": step,
            "slots": slots.count(),
            "bytes": recording.own_bytes(),
            "flops": recording.cost().flops,
        });
        writeln!(out, "{figures}")?;
    }
    Ok(())
}

/// The spec in a file.
fn read(path: Option<&Path>) -> Outcome<Spec> {
    let Some(path) = path else { return Ok(Spec::from_toml(include_str!("digits.toml"))?) };
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let spec =
        if path.extension().is_some_and(|e| e == "json") { Spec::from_json(&text) } else { Spec::from_toml(&text) };
    Ok(spec?)
}

/// Writes every distinct kernel into a file named after the first dispatch that runs it.
fn write_shaders(recording: &Recording, folder: &Path) -> Outcome<usize> {
    std::fs::create_dir_all(folder)?;
    let mut written = BTreeSet::new();
    for (i, dispatch) in recording.dispatches.iter().enumerate() {
        if written.insert(&dispatch.wgsl) {
            let words = dispatch.label.split(|c: char| !c.is_alphanumeric() && !"._".contains(c));
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            std::fs::write(folder.join(format!("{i:02}-{}.wgsl", words.join("-"))), &dispatch.wgsl)?;
        }
    }
    Ok(written.len())
}
