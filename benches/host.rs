//! What a training step takes of the host, apart from the device: on a device that does nothing, so that all that is left
//! is recording, wgpu's validation and submitting. `cargo bench --bench host`.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use strait::{Activation, Data, Gpu, Result, Session, Spec, Training, wgpu};

/// Steps in a submit: what a device gets that takes two milliseconds for one.
const STEPS: u64 = 25;

fn host(criterion: &mut Criterion) {
    let mut session = match prepare() {
        Ok(session) => session,
        Err(error) => return eprintln!("{error}"),
    };
    let mut group = criterion.benchmark_group("host time a step");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.bench_function("784-300-150-300-784, batch 150", |bencher| {
        bencher.iter_custom(|iterations| match taken(&mut session, iterations) {
            Ok(elapsed) => elapsed,
            Err(error) => panic!("{error}"),
        });
    });
    group.finish();
}

fn prepare() -> Result<Session> {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let gpu = Gpu::adopt(device, queue);
    let training = Training { batch: 150, epochs: 1 << 32, ..Training::default() };
    let mut session = Session::new(&gpu, &Spec::symmetric(&[784, 300, 150], Activation::Relu), training)?;
    session.load(Data::from_rows(784, vec![0.5; 784 * 600])?)?;
    Ok(session)
}

/// How long submitting so many steps takes.
fn taken(session: &mut Session, steps: u64) -> Result<Duration> {
    let (mut left, mut elapsed) = (steps, Duration::ZERO);
    while left > 0 {
        let begun = Instant::now();
        let now = session.step(left.min(STEPS))?.steps();
        elapsed += begun.elapsed();
        left -= now;
        if now == 0 {
            // Two submits are in flight: their reports must be read before a third.
            session.gpu().wait()?;
            while session.progress()?.is_some() {}
        }
    }
    Ok(elapsed)
}

criterion_group!(benches, host);
criterion_main!(benches);
