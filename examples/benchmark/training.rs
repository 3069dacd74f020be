//! Training steps of the models that strait is compared by, encoding, the first step, and what a step takes of the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strait::gpu::GpuOptions;
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Cost, Recording, Target};
use strait::model::{Mapping, Method, Purpose};
use strait::{Activation, Data, Gpu, Loss, Penalty, Result, Session, Source, Spec, Training, wgpu};

use super::ceiling::Clock;
use super::figure::{Figure, Run};

/// A model and its batch.
struct Model {
    name: &'static str,
    spec: Spec,
    rows: usize,
}

fn deep() -> Spec {
    Spec::symmetric(&[784, 1000, 500, 250, 30], Activation::Relu).code_activation(Activation::Relu)
}

/// 784-300-150 and mirrored.
fn plain() -> Spec {
    Spec::symmetric(&[784, 300, 150], Activation::Relu).code_activation(Activation::Relu)
}

/// The models, the cheapest first.
fn models(gpu: &Gpu) -> Vec<Model> {
    let small = Spec::symmetric(&[128, 64, 32], Activation::Relu).code_activation(Activation::Relu);
    let flat = || Spec::symmetric(&[784, 256], Activation::Identity);
    let coded = || flat().code_activation(Activation::Sigmoid).loss(Loss::SquaredError);
    let contractive = Penalty::Contractive { weight: 0.1, of: Mapping::Encoder, method: Method::ClosedForm };
    let model = |name, spec, rows| Model { name, spec, rows };
    let mut models = vec![
        model("128-64-32, batch 16", small, 16),
        model("784-300-150, batch 150", plain(), 150),
        model("784-256 contractive, batch 128", coded().penalty(contractive), 128),
        model("784-256 denoising, batch 128", coded().gaussian_corruption(0.2), 128),
        model("784-256 variational, batch 128", flat().loss(Loss::Bernoulli).variational(1.0), 128),
        model("784-1000-500-250-30, batch 128", deep(), 128),
    ];
    if gpu.kind() == AdapterKind::Hardware {
        models.push(model("784-1000-500-250-30, batch 4096", deep(), 4096));
    }
    models
}

/// Made rows between .1 and .9.
fn rows(columns: usize, count: usize) -> Result<Data> {
    let value = |i: usize| 0.1 + 0.8 * ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
    Data::from_rows(columns, (0..columns * count).map(value).collect::<Vec<f32>>())
}

fn training(batch: usize) -> Training {
    Training { learning_rate: 1e-4, batch, epochs: 1 << 32, ..Training::default() }
}

/// A step of each model; with the tiles of the table of defaults, and with measured ones where time is left.
pub fn steps(gpu: &Gpu, clock: &Clock, deadline: Instant, profile: bool, run: &mut Run) -> Result<()> {
    let models = models(gpu);
    let count = models.len() as u32;
    for (i, Model { name, spec, rows: batch }) in (0..).zip(models) {
        let begun = Instant::now();
        let share = deadline.saturating_duration_since(begun) / (count - i);
        let features = spec.input;
        let data: Arc<dyn Source> = Arc::new(rows(features, 4 * batch)?);
        let mut session = Session::new(gpu, &spec, training(batch))?;
        let cost = cost(gpu, &session, batch)?;
        let mut measure = |session: &mut Session, more: &str, time: Duration| -> Result<()> {
            let seconds = seconds(session, &data, || clock.settle(gpu), time)?;
            let dispatches = session.dispatches_per_step().unwrap_or(0);
            let figure = Figure::less("training steps", format!("{name}{more}"), seconds * 1e6, "microseconds");
            run.figures.push(figure.took(seconds, cost.flops, cost.bytes).note(format!("{dispatches} dispatches")));
            Ok(())
        };
        measure(&mut session, "", share.mul_f64(0.4))?;
        if profile {
            println!("{name}\n{}", session.profile(20)?);
        }
        let left = share.saturating_sub(begun.elapsed());
        if left < share.mul_f64(0.25) {
            run.left_out.push((format!("{name}, tuned"), "no time left".into()));
            continue;
        }
        session.tune(left.mul_f64(0.7))?;
        measure(&mut session, ", tuned", share.saturating_sub(begun.elapsed()))?;
    }
    Ok(())
}

/// Operations of a step's products, and bytes that it must move at least.
fn cost(gpu: &Gpu, session: &Session, rows: usize) -> Result<Cost> {
    let network = Network::new(session.spec())?;
    let step = Recording::new(&network.graph(Purpose::Train, true)?, Target::of(gpu, rows))?;
    let update = session.training().optimizer.graph(network.params(), session.training().clip_norm)?;
    let update = Recording::new(&update, Target::of(gpu, 1))?;
    Ok([step.cost(), update.cost()].into_iter().sum())
}

/// The report from which on all are of steps by the kernels that the run keeps: they are changed after the first one, and two
/// submits are in flight.
const FASTER: usize = 2;

/// Seconds of a step in a run as users start it, once its first reports have come: the least over intervals of some
/// length, until for a while none was shorter. While kernels are compiled the GPU has nothing to do, so it is brought up to
/// speed again after that, which `settle` does; that takes of `time` at most three quarters.
fn seconds(
    session: &mut Session,
    data: &Arc<dyn Source>,
    settle: impl Fn() -> Result<()>,
    mut time: Duration,
) -> Result<f64> {
    let mut begun = Instant::now();
    let (mut from, mut least, mut settled): (Option<(u64, Instant)>, f64, Instant) = (None, f64::MAX, begun);
    for (report, progress) in session.fit_iter(data.clone())?.enumerate() {
        if report == FASTER {
            settle()?;
        }
        let (step, now) = (progress?.step, Instant::now());
        let Some((first, since)) = from else {
            if report > FASTER {
                time = time.saturating_sub(begun.elapsed()).max(time / 4);
                (from, settled, begun) = (Some((step, now)), now, now);
            }
            continue;
        };
        if now - since > time / 10 {
            let each = (now - since).as_secs_f64() / (step - first) as f64;
            if each < 0.98 * least {
                settled = now;
            }
            least = least.min(each);
            from = Some((step, now));
        }
        let enough = begun.elapsed() > time && settled.elapsed() > time / 4;
        if least < f64::MAX && (enough || begun.elapsed() > time.mul_f64(1.5)) {
            break;
        }
    }
    Ok(least)
}

/// From nothing to the end of the first step of 784-300-150: the device, the kernels, the data.
pub fn first_step(adapter: &GpuOptions) -> Result<Figure> {
    let data = rows(784, 600)?;
    let begun = Instant::now();
    let gpu = Gpu::with(adapter)?;
    let mut session = Session::new(&gpu, &plain(), training(150))?;
    session.load(data)?;
    session.step(1)?;
    gpu.wait()?;
    let seconds = begun.elapsed().as_secs_f64();
    let note = "device, kernels and data; the driver's cache as it is";
    Ok(Figure::less("use", "first step of 784-300-150", seconds * 1e3, "ms").note(note))
}

/// Encoding rows of the host's, and the host's time for a step.
pub fn using(gpu: &Gpu, deadline: Instant, run: &mut Run) -> Result<()> {
    let session = Session::new(gpu, &plain(), training(150))?;
    let most = if gpu.kind() == AdapterKind::Hardware { 100_000 } else { 10_000 };
    let data = rows(784, most)?;
    session.encode(&data.values()[..784 * 1000])?;
    let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
    let seconds = super::ceiling::fastest(half, || session.encode(data.values()).map(drop))?;
    let name = format!("encoding {most} rows through 784-300-150");
    run.figures.push(Figure::more("use", name, most as f64 / seconds, "rows/s").note("from and to the host's memory"));
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let nothing = Gpu::adopt(device, queue);
    let mut session = Session::new(&nothing, &plain(), training(150))?;
    session.load(rows(784, 600)?)?;
    let (mut taken, mut tried) = (f64::MAX, 0);
    while tried < 100 || Instant::now() < deadline {
        tried += 1;
        let begun = Instant::now();
        let steps = session.step(25)?.steps();
        if steps > 0 {
            taken = taken.min(begun.elapsed().as_secs_f64() / steps as f64);
        } else {
            nothing.wait()?;
        }
        while session.progress()?.is_some() {}
    }
    let note = "on a device that does nothing";
    run.figures.push(Figure::less("use", "the host's time for a step", taken * 1e6, "microseconds").note(note));
    Ok(())
}
