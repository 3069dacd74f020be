//! What leaves others their turn: submits on a device that is shared are short, whatever makes them, and what is awaited keeps no
//! thread for long. What is counted is submits, rows and threads, not time.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use crate::common::{gpu, host_device, own_gpu, submits, values};
use strait::data::Source;
use strait::graph::{Graph, NodeId, Over};
use strait::internals::gpu::{Parts, Together};
use strait::internals::plan::AdapterKind;
use strait::model::{Decoded, RowLoss};
use strait::{
    Activation, Data, EarlyStopping, Gpu, Loss, Objective, Penalty, Result, Scaling, Session, Spec, Training, wgpu,
};

/// Devices of the host's, with timestamps and without.
fn shared() -> impl Iterator<Item = Gpu> {
    let wanted = [wgpu::Features::TIMESTAMP_QUERY, wgpu::Features::empty()];
    wanted.into_iter().filter_map(|wanted| host_device(wanted).map(|(device, queue)| Gpu::adopt(device, queue)))
}

/// Eight layers, each of which is a dispatch at least.
fn deep() -> Spec {
    Spec::symmetric(&[6, 9, 8, 7, 3], Activation::Tanh)
}

fn data(rows: usize, columns: usize) -> Data {
    Data::from_rows(columns, values(71, rows * columns, (-1.0, 1.0))).unwrap()
}

/// Asserts that two evaluations agree: to the bit on software adapters where the batches are the same.
fn agree(gpu: &Gpu, a: &Objective, b: &Objective, same: bool) {
    assert_eq!(a.terms.len(), b.terms.len());
    for ((name, a), (_, b)) in a.terms.iter().zip(&b.terms) {
        let to_the_bit = same && gpu.kind() == AdapterKind::Software;
        assert!(if to_the_bit { a == b } else { (a / b - 1.0).abs() < 1e-5 }, "{name}: {a}, {b}");
    }
}

/// What was measured is counted through all turns, and what was not comes alone.
#[test]
fn parts_that_fit_a_time() {
    let budget = Duration::from_millis(4);
    let mut parts = Parts::new(3);
    assert_eq!((parts.fitting(0..9, budget), parts.whole()), (1, None));
    parts.learn(0..1, 0.001);
    assert_eq!(parts.fitting(0..9, budget), 1, "the second is not known");
    parts.learn(1..3, 0.003);
    assert_eq!(parts.whole(), Some(0.001 + 0.0015 + 0.0015));
    // 1, 1.5, 1.5 and again: 1 + 1.5 + 1.5 is 4; 1.5 + 1.5 + 1 is, and from the fifth on.
    assert_eq!((parts.fitting(0..9, budget), parts.fitting(4..9, budget)), (3, 7));
    assert_eq!(parts.fitting(0..9, Duration::from_millis(8)), 6);
    assert_eq!((parts.fitting(7..8, budget), parts.fitting(2..9, Duration::ZERO)), (8, 3), "one at least");
    // Longer at once, shorter by a tenth of the difference; two turns at once are two of each.
    parts.learn(0..6, 0.016);
    assert!((parts.whole().unwrap() - 0.008).abs() < 1e-12);
    parts.learn(0..3, 0.004);
    assert!((parts.whole().unwrap() - 0.0076).abs() < 1e-12);
}

#[test]
fn rows_that_fit_a_time() {
    let mut together = Together::default();
    assert_eq!(together.rows(), 64);
    for (rows, seconds, next) in [
        (64, 0.0001, 256),
        (256, 0.0005, 1024),
        // The last few rows of a call say little.
        (3, 0.0004, 1024),
        (1024, 0.008, 512),
        (512, 0.4, 64),
        (64, 0.4, 64),
        (64, 0.002, 128),
    ] {
        together.learn(rows, seconds);
        assert_eq!(together.rows(), next, "after {rows} rows in {seconds} s");
    }
}

/// An evaluation is submitted dispatch by dispatch until it is known how long each takes, and gives the same.
#[test]
fn an_evaluation_leaves_the_queue_to_the_host() {
    let rows = data(2500, 6);
    let own = own_gpu();
    let mut session = Session::new(&own, &deep(), Training::default()).unwrap();
    // Kernels are dispatched once where they are made.
    session.evaluate(&rows).unwrap();
    let (expected, at_once) = submits(&own, || session.evaluate(&rows).unwrap());
    assert!(at_once <= 2, "{at_once}");
    for gpu in shared() {
        let mut session = Session::new(&gpu, &deep(), Training::default()).unwrap();
        let (found, parted) = submits(&gpu, || session.evaluate(&rows).unwrap());
        assert!(parted > 16, "{parted}");
        agree(&gpu, &found, &expected, true);
        let awaited = pollster::block_on(session.evaluate_async(&rows)).unwrap();
        agree(&gpu, &awaited, &expected, true);
    }
}

/// So is the look at validation rows in the middle of a run, which takes the same steps to the same end.
#[test]
fn a_look_leaves_the_queue_to_the_host() {
    let (train, held) = (data(16, 6), data(2500, 6));
    let early = EarlyStopping { validation: 0.2, patience: 100, min_delta: 0.0 };
    let training = Training { batch: 16, epochs: 1, ..Training::default() };
    let fit = |gpu: &Gpu, early: Option<EarlyStopping>| {
        let mut session = Session::new(gpu, &deep(), Training { early_stopping: early, ..training }).unwrap();
        session.set_validation(Some((&held).into()));
        session.load(&train).unwrap();
        let (fit, submits) = submits(gpu, || session.fit(&train).unwrap());
        (fit.history[0].validation.clone(), submits)
    };
    let (expected, _) = fit(&own_gpu(), Some(early));
    for gpu in shared() {
        let (_, without) = fit(&gpu, None);
        let (found, with) = fit(&gpu, Some(early));
        assert!(with > without + 16, "{with}, {without} without a look");
        agree(&gpu, &found.unwrap(), expected.as_ref().unwrap(), true);
    }
}

/// A large model has fewer rows in a batch there, but for a mean activity, which would be another one: the objective stays.
#[test]
fn an_evaluation_in_smaller_batches_is_the_same() {
    let rows = data(1000, 784);
    let plain = Spec::symmetric(&[784, 600], Activation::Sigmoid);
    let kl = Penalty::KlSparsity { weight: 0.1, rho: 0.3, layer: None };
    let Some(gpu) = shared().next() else { return };
    for (spec, same) in [
        (plain.clone().code_activation(Activation::Sigmoid), false),
        (plain.code_activation(Activation::Sigmoid).penalty(kl), true),
    ] {
        let mut here = Session::new(&gpu, &spec, Training::default()).unwrap();
        let mut there = Session::new(&self::gpu(), &spec, Training::default()).unwrap();
        let (found, expected) = (here.evaluate(&rows).unwrap(), there.evaluate(&rows).unwrap());
        agree(&gpu, &found, &expected, same);
        let differs = found.terms.iter().zip(&expected.terms).any(|(a, b)| a.1.to_bits() != b.1.to_bits());
        if gpu.kind() == AdapterKind::Software {
            assert_eq!(differs, !same, "batches of fewer rows round otherwise");
        }
        let again = here.evaluate(&rows).unwrap();
        assert!(again == found, "and always in the same way");
    }
}

/// Inference begins with few rows, and a row's result is the same whatever goes with it.
#[test]
fn inference_leaves_the_queue_to_the_host() {
    let rows = data(1024, 6);
    let own = own_gpu();
    let there = Session::new(&own, &deep(), Training::default()).unwrap();
    for gpu in shared() {
        let here = Session::new(&gpu, &deep(), Training::default()).unwrap();
        for call in [Session::encoded, Session::reconstructed, Session::scored] {
            // Kernels are dispatched once where they are made.
            call(&there, rows.values());
            let (expected, at_once) = submits(&own, || call(&there, rows.values()));
            let (found, parted) = submits(&gpu, || call(&here, rows.values()));
            // 64 rows, no more than 256 and no more than 704.
            assert!(at_once == 2 && parted >= 6, "{at_once}, {parted}");
            match gpu.kind() {
                AdapterKind::Software => assert!(found == expected),
                _ => assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5)),
            }
        }
        let few = rows.values()[..60].to_vec();
        assert_eq!(submits(&gpu, || here.encode(&few).unwrap()).1, 2);
    }
}

/// Blocking calls, to be listed.
trait Calls {
    fn encoded(&self, rows: &[f32]) -> Vec<f32>;
    fn reconstructed(&self, rows: &[f32]) -> Vec<f32>;
    fn scored(&self, rows: &[f32]) -> Vec<f32>;
}

impl Calls for Session {
    fn encoded(&self, rows: &[f32]) -> Vec<f32> {
        self.encode(rows).unwrap()
    }
    fn reconstructed(&self, rows: &[f32]) -> Vec<f32> {
        self.reconstruct(rows).unwrap()
    }
    fn scored(&self, rows: &[f32]) -> Vec<f32> {
        self.score(rows).unwrap()
    }
}

/// Where a submit may wait for the one before, no poll makes two.
#[test]
fn a_poll_makes_one_submit() {
    let gpu = own_gpu();
    if gpu.kind() != AdapterKind::Software {
        return;
    }
    let session = Session::new(&gpu, &deep(), Training::default()).unwrap();
    let rows = data(4500, 6);
    let expected = session.reconstruct(rows.values()).unwrap();
    let mut future = pin!(session.reconstruct_async(rows.values()));
    let (mut context, mut all) = (Context::from_waker(Waker::noop()), 0);
    let found = loop {
        let (polled, made) = submits(&gpu, || future.as_mut().poll(&mut context));
        assert!(made <= 2, "{made}, of which a submit makes 2");
        all += made;
        if let Poll::Ready(found) = polled {
            break found.unwrap();
        }
    };
    assert_eq!(all, 2 * 5);
    assert!(found == expected);
}

/// A square, which notes on which threads its graph is built: the interpreter's is where it runs.
struct Noted(Arc<Mutex<Vec<ThreadId>>>);

impl RowLoss for Noted {
    fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, _: &[f64]) -> Result<NodeId> {
        self.0.lock().unwrap().push(std::thread::current().id());
        let each = g.map([decoded.output, target], |[r, x]| (r - x).square())?;
        Ok(g.sum(Over::Columns, each))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        Ok(())
    }
}

/// What f32 cannot tell is found out in f64 on another thread than the one that polls.
#[test]
fn the_interpreter_keeps_no_thread_that_polls() {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let spec = Spec::symmetric(&[6, 3], Activation::Tanh).loss(Loss::own("noted", [], Noted(threads.clone())));
    let session = Session::new(&gpu(), &spec, Training::default()).unwrap();
    let mut rows = data(1100, 6).values().to_vec();
    let finite = session.score(&rows).unwrap();
    // One in each batch of 1,024, whose losses are beyond f32.
    (rows[3 * 6], rows[1050 * 6]) = (1e20, -1e20);
    let blocking = session.score(&rows).unwrap();
    assert!(threads.lock().unwrap().contains(&std::thread::current().id()));
    threads.lock().unwrap().clear();
    let awaited = pollster::block_on(session.score_async(&rows)).unwrap();
    let noted = std::mem::take(&mut *threads.lock().unwrap());
    assert!(!noted.is_empty() && !noted.contains(&std::thread::current().id()));
    assert!(awaited == blocking);
    for (row, (found, finite)) in awaited.iter().zip(&finite).enumerate() {
        assert!(if row == 3 || row == 1050 { *found == f32::INFINITY } else { found == finite }, "{row}: {found}");
    }
}

/// Rows of a source, which notes how many values were asked for at once.
struct Wide(Data, Arc<AtomicUsize>);

impl Source for Wide {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn columns(&self) -> usize {
        self.0.columns()
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        self.1.fetch_max(out.len(), Relaxed);
        self.0.read(first_row, out)
    }

    fn name(&self) -> &str {
        "wide"
    }
}

/// However wide rows are, a poll reads no more than 2^18 values, and learns the same from them.
#[test]
fn a_poll_reads_few_values() {
    let most = Arc::new(AtomicUsize::new(0));
    let rows: Arc<dyn Source> = Arc::new(Wide(data(1500, 600), most.clone()));
    let spec = Spec::symmetric(&[600, 2], Activation::Tanh).scaling(Scaling::Standardise);
    let mut awaiting = Session::new(&gpu(), &spec, Training::default()).unwrap();
    pollster::block_on(awaiting.load_async(rows.clone(), |_| {})).unwrap();
    let most = most.load(Relaxed);
    assert!(most > 1 << 17 && most <= 1 << 18, "{most}");
    let mut blocking = Session::new(&gpu(), &spec, Training::default()).unwrap();
    blocking.load(rows.clone()).unwrap();
    assert!(awaiting.encode(data(4, 600).values()).unwrap() == blocking.encode(data(4, 600).values()).unwrap());
}
