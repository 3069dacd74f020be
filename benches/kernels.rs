//! The kernels, each alone: matrix products of the shapes that training has, sums and maps, each with its share of what
//! the adapter can do at best. `cargo bench --bench kernels`.

#[path = "../examples/common/ceiling.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod ceiling;

use std::time::{Duration, Instant};

use ceiling::Ceilings;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use strait::graph::{Graph, Over, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::plan::Product;
use strait::internals::state::State;
use strait::{Gpu, Result};

/// Products, m x k by k x n: square ones, and those of a layer of 784 by 300 and a batch of 16 to 1,024 rows.
const PRODUCTS: [(usize, usize, usize); 6] =
    [(256, 512, 784), (1024, 1024, 1024), (16, 784, 300), (150, 784, 300), (784, 150, 300), (1024, 784, 300)];

fn kernels(criterion: &mut Criterion) {
    if let Err(error) = measure(criterion) {
        eprintln!("{error}");
    }
}

fn measure(criterion: &mut Criterion) -> Result<()> {
    let gpu = Gpu::new()?;
    let ceiling = Ceilings::of(&gpu)?;
    println!("{}\n{}", gpu.adapter().name, ceiling.describe());
    let mut group = criterion.benchmark_group("kernels");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    for (name, graph, rows) in graphs()? {
        let evaluator = Evaluator::new(&gpu, &graph, rows)?;
        let state = State { rows: rows as u32, ..State::default() };
        // Only what a filter lets run is told of.
        let mut ran = false;
        group.bench_function(&name, |bencher| {
            ran = true;
            bencher.iter_custom(|iterations| match taken(&gpu, &evaluator, state, iterations) {
                Ok(elapsed) => elapsed,
                Err(error) => panic!("{name}: {error}"),
            });
        });
        if !ran {
            continue;
        }
        let mut times = (0..9).map(|_| evaluator.timed()).collect::<Result<Vec<_>>>()?;
        times.sort_by(|a, b| ceiling::seconds(a).total_cmp(&ceiling::seconds(b)));
        let median = &times[times.len() / 2];
        println!("{name:<32} {}", ceiling.share(ceiling::cost(median), ceiling::seconds(median)));
    }
    group.finish();
    Ok(())
}

/// How long so many runs take.
fn taken(gpu: &Gpu, evaluator: &Evaluator, state: State, iterations: u64) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..iterations {
        evaluator.run(state)?;
    }
    gpu.wait()?;
    Ok(begun.elapsed())
}

/// What is measured: a name, a graph, the rows of a batch.
fn graphs() -> Result<Vec<(String, Graph, usize)>> {
    let mut graphs = Vec::new();
    for (m, k, n) in PRODUCTS {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let product = Product { rows: m, inner: k, columns: n, ta, tb, half: false };
            graphs.push((format!("matmul {product}"), product.graph()?, 1));
        }
    }
    for (name, over) in [("sum over columns", Over::Columns), ("sum over rows", Over::Rows)] {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 784);
        let sum = g.sum(over, x);
        g.sink(Sink::Output(0), sum);
        graphs.push((format!("{name}, 1024x784"), g, 1024));
    }
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 784);
    let y = g.map([x], |[x]| x.sigmoid())?;
    g.sink(Sink::Output(0), y);
    graphs.push(("sigmoid, 1024x784".into(), g, 1024));
    Ok(graphs)
}

criterion_group!(benches, kernels);
criterion_main!(benches);
