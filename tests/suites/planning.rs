//! How long planning takes: long chains and deep models within two seconds, since a host waits for it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use strait::graph::{Graph, NodeId, Over, Shape, Sink, Tensor};
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Limits, Recording, Target};
use strait::model::Purpose;
use strait::{Activation, Loss, Spec};

/// What planning may take.
const MOST: Duration = Duration::from_secs(2);

/// Time that this thread has had a core, where the system tells; else time of day.
fn spent() -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| BEGUN.elapsed(), Duration::from_nanos)
}

/// Plans a graph for both kinds of adapter within that time, and tells the most dispatches.
fn planned(graph: &Graph, what: &str) -> usize {
    let plan = |kind: AdapterKind| {
        let limits = Limits { binding_bytes: 1 << 31, buffer_bytes: 1 << 32, ..Limits::DEFAULT };
        let (rows, data_rows, tile, tuning) = (64, 1000, None, None);
        let target = Target { kind, limits, rows, data_rows, tile, tuning, quick: false, optimise: true };
        let begun = spent();
        let dispatches = Recording::new(graph, target).unwrap_or_else(|e| panic!("{what}: {e}")).dispatches.len();
        let took = spent() - begun;
        assert!(took < MOST, "{what}, {kind:?}, {dispatches} dispatches: {took:?}");
        dispatches
    };
    [AdapterKind::Software, AdapterKind::Hardware].into_iter().map(plan).max().unwrap()
}

/// A chain of `count` links, each made of the one before, and where it starts.
fn chain(count: usize, link: impl Fn(&mut Graph, NodeId) -> NodeId) -> (Graph, NodeId, NodeId) {
    let mut g = Graph::new(vec![Tensor { name: "p".into(), shape: Shape::fixed(&[8]) }], vec![]);
    let start = g.param(0).unwrap();
    let mut last = start;
    for _ in 0..count {
        last = link(&mut g, last);
    }
    (g, start, last)
}

#[test]
fn chains_of_ten_thousand_maps() {
    let (mut g, _, last) = chain(10_000, |g, x| g.map([x], |[x]| x.sin() + 0.5).unwrap());
    g.sink(Sink::Output(0), last);
    assert_eq!(planned(&g, "a chain of maps"), 1);
}

#[test]
fn chains_of_maps_and_their_gradients() {
    let (mut g, start, last) = chain(5_000, |g, x| g.map([x], |[x]| x.sin() + 0.5).unwrap());
    let sum = g.sum_all(last);
    let gradient = g.gradient(sum, &[start]).unwrap();
    g.sink(Sink::Gradient(0), gradient[0]);
    planned(&g, "a chain of maps and its gradient");
}

/// Every link needs a dispatch of its own.
#[test]
fn chains_of_sums() {
    let link = |g: &mut Graph, x: NodeId| {
        let sum = g.sum(Over::Columns, x);
        g.map([x, sum], |[x, s]| (x - s * 0.1).tanh()).unwrap()
    };
    let (mut g, _, last) = chain(5_000, link);
    g.sink(Sink::Output(0), last);
    assert!(planned(&g, "a chain of sums") >= 5_000);
}

/// Wide rather than deep: many sinks that read one value.
#[test]
fn many_readers_of_one_value() {
    let (mut g, start, _) = chain(0, |_, x| x);
    let root = g.map([start], |[x]| x.sin()).unwrap();
    for i in 0..5_000 {
        let value = g.map([root], |[x]| (x * f64::from(i + 1)).cos()).unwrap();
        let sum = g.sum(Over::Columns, value);
        g.sink(Sink::Output(i as usize), sum);
    }
    planned(&g, "many readers");
}

#[test]
fn models_of_a_thousand_layers() {
    let widths = |i: usize| if i.is_multiple_of(2) { 16 } else { 12 };
    let layers: Vec<usize> = (0..501).map(widths).collect();
    let spec = Spec::symmetric(&layers, Activation::Tanh).loss(Loss::SquaredError).weight_decay(1e-4);
    let graph = Network::new(&spec).unwrap().graph(Purpose::Train, true).unwrap();
    planned(&graph, "1,000 layers");
}
