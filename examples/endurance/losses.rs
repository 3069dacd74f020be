//! Devices that are lost in the middle of an operation, and every operation behind that.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::outcome::Outcome;
use super::{rows, spec, watched};
use strait::analysis::{Chain, Sampler};
use strait::gpu::Buffer;
use strait::inference::Attached;
use strait::model::{Prior, Purpose};
use strait::train::{Discriminator, Ring, Run, Trainer};
use strait::{Data, Error, Gpu, Result, Session, Training, wgpu};

/// Whose device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One that strait made.
    Own,
    /// A host's without any handlers: an error that nobody captures panics.
    Adopted,
    /// A host's that tells strait of the loss.
    Told,
}

/// All of them.
pub const KINDS: [Kind; 3] = [Kind::Own, Kind::Adopted, Kind::Told];

/// A device and what is done with it.
pub struct Host {
    pub gpu: Gpu,
    session: Session,
    data: Data,
    buffer: Buffer,
    attached: Attached,
    chains: Sampler,
    ring: Ring,
    trainer: Trainer,
    file: PathBuf,
}

pub type Operation = (&'static str, fn(&mut Host) -> Result<()>);

/// Everything that uses the device.
pub const OPERATIONS: &[Operation] = &[
    ("step", |h| h.session.step(3).map(drop)),
    ("step_for", |h| h.session.step_for(Duration::from_millis(1)).map(drop)),
    ("backward and apply", |h| match h.session.backward()? {
        true => h.session.apply(),
        false => h.gpu.wait().and_then(|()| h.session.progress().map(drop)),
    }),
    ("progress", |h| h.session.progress().map(drop)),
    ("encode", |h| h.session.encode(h.data.values()).map(drop)),
    ("decode", |h| h.session.decode(&[0.5; 2]).map(drop)),
    ("reconstruct", |h| h.session.reconstruct(h.data.values()).map(drop)),
    ("score", |h| h.session.score(h.data.values()).map(drop)),
    ("encode_async", |h| pollster::block_on(h.session.encode_async(h.data.values())).map(drop)),
    ("reconstruct_async", |h| pollster::block_on(h.session.reconstruct_async(h.data.values())).map(drop)),
    ("score_async", |h| pollster::block_on(h.session.score_async(h.data.values())).map(drop)),
    ("evaluate", |h| h.session.evaluate(&h.data).map(drop)),
    ("evaluate_async", |h| pollster::block_on(h.session.evaluate_async(&h.data)).map(drop)),
    ("corrupt", |h| h.session.corrupt(h.data.values(), 1).map(drop)),
    ("parameters", |h| h.session.parameters().map(drop)),
    ("parameter", |h| h.session.parameter("encoder.0.weight").map(drop)),
    ("set_parameters", |h| {
        let zeros: Vec<Vec<f32>> = h.session.tensors().iter().map(|t| vec![0.0; t.shape.elements(1)]).collect();
        h.session.set_parameters(&zeros)
    }),
    ("save", |h| h.session.save(&h.file)),
    ("checkpoint", |h| h.session.checkpoint(&h.file)),
    ("snapshot", |h| h.session.snapshot().map(drop)),
    ("open", |h| Session::open(&h.gpu, &h.file).map(drop)),
    ("load_parameters", |h| h.session.load_parameters(&h.file, strait::Weights::InOut)),
    ("run of an attachment", |h| h.attached.run(9)),
    ("recorded run of an attachment", |h| {
        let mut encoder = h.gpu.device().create_command_encoder(&Default::default());
        h.attached.record(&mut encoder, 9)?;
        h.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }),
    ("copy_parameter", |h| h.session.copy_parameter("encoder.0.weight", &h.buffer, 0)),
    ("push", |h| h.ring.push(&h.data.values()[..6])),
    ("push_buffer", |h| h.ring.push_buffer(&h.buffer, 2)),
    ("attach", |h| h.session.attach(Purpose::Encode, h.buffer.clone(), h.buffer.clone(), 9).map(drop)),
    ("advance of chains", |h| h.chains.advance(2)),
    ("rows of chains", |h| h.chains.rows().map(drop)),
    ("load", |h| h.session.load(&h.data)),
    ("load_async", |h| pollster::block_on(h.session.load_async(&h.data, |_| {}))),
    ("load of a ring", |h| h.session.load(&h.ring)),
    ("step of a trainer", |h| h.trainer.step(2).map(drop)),
    ("step_for of a trainer", |h| h.trainer.step_for(Duration::from_millis(1)).map(drop)),
    ("progress of a trainer", |h| h.trainer.progress().map(drop)),
    ("fit of a trainer", |h| h.trainer.fit_with(&h.data, |_| ControlFlow::Break(())).map(drop)),
    ("parameters of a trainer", |h| h.trainer.parameters().map(drop)),
    ("checkpoint of a trainer", |h| h.trainer.checkpoint(h.file.with_extension("trainer"))),
    ("snapshot of a trainer", |h| h.trainer.snapshot().map(drop)),
    ("fit", |h| h.session.fit_with(&h.data, |_| ControlFlow::Break(())).map(drop)),
    ("fit_async", |h| {
        pollster::block_on(h.session.fit_async(&h.data, |p| match p.step > 40 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }))
        .map(drop)
    }),
    ("fit_iter", |h| h.session.fit_iter(&h.data)?.take(3).try_for_each(|progress| progress.map(drop))),
    ("profile", |h| match h.gpu.has_timestamps() {
        true => h.session.profile(1).map(drop),
        false => h.session.step(1).map(drop),
    }),
    ("tune", |h| h.session.tune(Duration::from_millis(1)).map(drop)),
    ("a new session", |h| Session::new(&h.gpu, &spec(), Training::default()).map(drop)),
    ("a new trainer", |h| Trainer::new(&h.gpu, players()?).map(drop)),
    ("a new ring", |h| Ring::uniform(&h.gpu, 3, 8).map(drop)),
    ("a new buffer", |h| h.gpu.buffer("any", 64).map(drop)),
    ("write", |h| h.gpu.write(&h.buffer, 0, &[0; 64])),
    ("read", |h| h.gpu.read(&h.buffer, 0, 4).map(drop)),
    ("wait", |h| h.gpu.wait()),
];

/// How many operations there are.
pub fn operations() -> usize {
    OPERATIONS.len()
}

/// Loses `count` devices, each in the middle of an operation, then tries all. Returns how often that was asked for.
pub fn run(count: usize) -> Outcome<usize> {
    let mut tried = 0;
    for i in 0..count {
        // Every operation once, then with the next kind of host.
        let operation = OPERATIONS[i % OPERATIONS.len()];
        let kind = KINDS[(i + i / OPERATIONS.len()) % KINDS.len()];
        let what = format!("loss {i}, {kind:?}, during {}", operation.0);
        tried += watched(&what, move || lose(i, kind, operation).map_err(|e| e.to_string()))?;
    }
    Ok(tried)
}

/// A device of this kind.
pub fn device(kind: Kind) -> Outcome<Gpu> {
    if kind == Kind::Own {
        return Ok(Gpu::new()?);
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let adapter = adapters.first().ok_or("no adapter")?;
    let required_features = Gpu::features(adapter);
    let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    let gpu = Gpu::adopt(device.clone(), queue);
    if kind == Kind::Told {
        let told = gpu.clone();
        device.set_device_lost_callback(move |_, _| told.device_lost("the host's callback says so"));
    }
    Ok(gpu)
}

/// An adversarial autoencoder, whose turns have two steps.
fn players() -> Result<Run> {
    let training = Training { batch: 8, epochs: 1 << 40, ..Training::default() };
    Run::adversarial(&spec(), &Discriminator::new(Prior::Normal, []), &training)
}

/// A device of this kind, and a session and a trainer that can do every operation.
pub fn host(kind: Kind, file: PathBuf) -> Outcome<Host> {
    let (gpu, data) = (device(kind)?, rows(40)?);
    let training = Training { batch: 8, epochs: 1 << 40, ..Training::default() };
    let mut session = Session::new(&gpu, &spec().gaussian_corruption(0.1), training)?;
    session.load(&data)?;
    let buffer = gpu.buffer("the host's", 1024)?;
    let attached = session.attach(Purpose::Encode, buffer.clone(), gpu.buffer("codes", 1024)?, 9)?;
    let chains = session.sampler(Chain::Langevin { length: 0.01 }, data.values(), 0)?;
    session.save(&file)?;
    let ring = Ring::uniform(&gpu, 3, 40)?;
    ring.push(data.values())?;
    let mut trainer = Trainer::new(&gpu, players()?)?;
    trainer.load(&data)?;
    Ok(Host { gpu, session, data, buffer, attached, chains, ring, trainer, file })
}

/// Fails unless a result is that the device was lost.
fn lost(what: &str, result: Result<()>) -> Outcome {
    match result {
        Err(Error::DeviceLost { reason }) if !reason.is_empty() => Ok(()),
        other => Err(format!("{what} gives {other:?}").into()),
    }
}

fn lose(i: usize, kind: Kind, (name, operation): Operation) -> Outcome<usize> {
    let folder = tempfile::tempdir()?;
    let mut host = host(kind, folder.path().join("model"))?;
    // What a session may be in the middle of: nothing, one submit or two.
    for _ in 0..i % 3 {
        host.session.step(2)?;
    }
    let device = host.gpu.device().clone();
    let losing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_micros((i * 397 % 4000) as u64));
        device.destroy();
        // Half of the hosts poll, which ends it; the others leave it to strait.
        if i.is_multiple_of(2) {
            let _ = device.poll(wgpu::PollType::Poll);
        }
    });
    // Until the loss is noticed.
    let mut first = Ok(());
    for _ in 0..100_000 {
        first = operation(&mut host);
        if first.is_err() {
            break;
        }
    }
    lost(name, first)?;
    losing.join().map_err(|_| "destroying the device panicked")?;
    for (name, operation) in OPERATIONS {
        lost(&format!("afterwards {name}"), operation(&mut host))?;
    }
    Ok(OPERATIONS.len() + 1)
}
