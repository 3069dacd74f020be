//! A training step of every system, each measured alone: `cargo bench --bench steps`. What a system adds to the step
//! of the model without it is measured by the example `cost`, in rounds: that holds on a busy machine too.

#[path = "../examples/common/ceiling.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod ceiling;
#[path = "../examples/common/steps.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod steps;

use std::time::{Duration, Instant};

use ceiling::Ceilings;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use steps::Learner;
use strait::Gpu;

fn systems(criterion: &mut Criterion) {
    let (gpu, ceiling) = match Gpu::new().and_then(|gpu| Ceilings::of(&gpu).map(|ceiling| (gpu, ceiling))) {
        Ok(made) => made,
        Err(error) => return eprintln!("{error}"),
    };
    println!("{}", ceiling.describe());
    let mut group = criterion.benchmark_group(format!("a training step on {}", gpu.adapter().name));
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    for case in steps::cases() {
        // Compiled only where a filter lets it run.
        let mut learner = None;
        group.bench_function(case.name, |bencher| {
            bencher.iter_custom(|iterations| match taken(&gpu, &case, &mut learner, iterations) {
                Ok(elapsed) => elapsed,
                Err(error) => panic!("{}: {error}", case.name),
            });
        });
        // Sessions have profiles.
        let Some(Learner::Session(session)) = &mut learner else { continue };
        match session.profile(9) {
            Ok(profile) => {
                let cost = ceiling::cost(&profile.dispatches);
                println!("{:<50} {}", case.name, ceiling.share(cost, profile.seconds()));
            }
            Err(error) => eprintln!("{}: {error}", case.name),
        }
    }
    group.finish();
}

/// How long so many steps take.
fn taken(gpu: &Gpu, case: &steps::Case, learner: &mut Option<Learner>, iterations: u64) -> strait::Result<Duration> {
    let learner = match learner {
        Some(learner) => learner,
        None => learner.insert(steps::prepare(gpu, &case.model)?),
    };
    let begun = Instant::now();
    steps::take(learner, iterations)?;
    Ok(begun.elapsed())
}

criterion_group!(benches, systems);
criterion_main!(benches);
