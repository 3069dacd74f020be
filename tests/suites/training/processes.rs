//! The same bits in processes of their own.

use std::path::{Path, PathBuf};

use super::*;
use crate::own_process::{job, start};
use strait::graph::Sink;
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Target};
use strait::internals::state::State;
use strait::model::Purpose;
use strait::{Corruption, Decay, Schedule};

fn leave(session: &Session, path: &str) {
    let bits = bits(session).concat();
    std::fs::write(path, bytemuck::cast_slice(&bits)).unwrap();
}

fn path(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn one_seed_gives_the_same_bits_in_every_process() {
    let train = |seed: u64, path: &str| {
        let training = Training { batch: 8, epochs: 200, seed, ..Training::default() };
        let mut session = session(&gpu(), &tiny().gaussian_corruption(0.2), training);
        let before = bits(&session);
        // In submits of whatever size the clock says.
        assert_eq!(session.fit(rows(40)).unwrap().steps, 1000);
        assert_ne!(before, bits(&session));
        leave(&session, path);
    };
    if let Some(job) = job() {
        return train(job[0].parse().unwrap(), &job[1]);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut results = Vec::new();
    for (i, seed) in ["7", "7", "7", "8"].into_iter().enumerate() {
        let file = path(&folder, &i.to_string());
        start("training::processes::one_seed_gives_the_same_bits_in_every_process", &[seed, text(&file)]);
        results.push(std::fs::read(&file).unwrap());
    }
    assert!(!results[0].is_empty());
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    assert_ne!(results[0], results[3]);
}

/// A run changes from kernels that compile sooner to faster ones when its first report happens to arrive: both must add
/// up in the same order.
#[test]
fn quick_kernels_and_faster_ones_give_the_same_bits() {
    let spec = Spec::symmetric(&[70, 130, 20], Activation::Tanh);
    let network = Network::new(&spec).unwrap();
    let g = network.graph(Purpose::Train, false).unwrap();
    let data = values(80, 100 * 70, (-1.0, 1.0));
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        let run = |quick| {
            let target = Target { quick, kind, ..Target::of(&gpu(), 100) };
            let evaluator = Evaluator::with_target(&gpu(), &g, target).unwrap();
            evaluator.data(&data).unwrap();
            evaluator.params(&network.initial(1)).unwrap();
            evaluator.run(State::once(100, 1)).unwrap();
            let gradient = |i| evaluator.sink(Sink::Gradient(i), 100).unwrap();
            let bits: Vec<u32> = (0..8).flat_map(gradient).map(f32::to_bits).collect();
            let kernels: Vec<String> = evaluator.recording().dispatches.iter().map(|d| d.wgsl.clone()).collect();
            (bits, kernels)
        };
        let ((quick, plain), (fast, other)) = (run(true), run(false));
        assert!(quick == fast && quick.iter().any(|&b| b != 0), "{kind:?}");
        assert_eq!(plain == other, kind == AdapterKind::Hardware, "{kind:?}: the same kernels prove nothing");
    }
}

/// Runs to resume, by name: with everything that a run remembers. 23 rows in batches of 4 make 6 steps an epoch.
fn runs() -> Vec<(&'static str, Spec, Training)> {
    let base = Training { batch: 4, epochs: 6, seed: 3, ..Training::default() };
    let schedule = Schedule { warm_up: 5, decay: Decay::Cosine { steps: None } };
    let early = strait::EarlyStopping { validation: 0.2, patience: 2, min_delta: 0.0 };
    vec![
        ("momentum", tiny().gaussian_corruption(0.1), Training { optimizer: MOMENTUM, ..base }),
        (
            "adam",
            tiny().corruption(Corruption::Masking { probability: 0.3, rescale: false }),
            Training { schedule, clip_norm: Some(0.05), ..base },
        ),
        ("streamed", tiny().scaling(strait::Scaling::Unit), Training { data_budget: 8 * 12, ..base }),
        ("early", tiny(), Training { early_stopping: Some(early), learning_rate: 0.1, ..base }),
    ]
}

/// Steps taken before the run is broken off: in the middle of the third epoch, and of a chunk.
const BEFORE: u64 = 15;

#[test]
fn a_run_goes_on_in_a_new_process_as_if_nothing_had_happened() {
    if let Some(job) = job() {
        let mut session = Session::resume(&gpu(), &job[0]).unwrap();
        assert_eq!(session.steps(), job[2].parse::<u64>().unwrap());
        session.fit(rows(23)).unwrap();
        return leave(&session, &job[1]);
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, spec, training) in runs() {
        let mut whole = session(&gpu(), &spec, training);
        whole.fit(rows(23)).unwrap();
        let mut begun = session(&gpu(), &spec, training);
        let broken_off = |p: &strait::Progress| match p.step >= BEFORE {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        };
        if training.early_stopping.is_some() {
            begun.fit_with(rows(23), broken_off).unwrap();
        } else {
            begun.load(rows(23)).unwrap();
            take(&mut begun, BEFORE, 4);
            assert_eq!(begun.steps(), BEFORE);
        }
        let (checkpoint, file) = (path(&folder, name), path(&folder, "parameters"));
        begun.checkpoint(&checkpoint).unwrap();
        assert_ne!(bits(&begun), bits(&whole), "{name}: nothing was left to do");
        let steps = begun.steps().to_string();
        let job = [text(&checkpoint), text(&file), &steps];
        start("training::processes::a_run_goes_on_in_a_new_process_as_if_nothing_had_happened", &job);
        let found: Vec<u32> = bytemuck::pod_collect_to_vec(&std::fs::read(&file).unwrap());
        assert!(found == bits(&whole).concat(), "{name}");
        // The same in this process: a run that was broken off and is taken up again.
        begun.fit(rows(23)).unwrap();
        assert!(bits(&begun) == bits(&whole), "{name}, in the same process");
    }
}

/// Making, saving and opening a model keeps one of its tensors on the host at a time. On a software adapter what lies on
/// the device is memory of the process, too: beside that, and the 64 MiB of copies that uploading may hold, there are a few
/// tensors of 16 MiB, where all eight together have 128.
#[cfg(target_os = "linux")]
#[test]
fn the_host_holds_one_tensor_at_a_time() {
    const TEST: &str = "training::processes::the_host_holds_one_tensor_at_a_time";
    if let Some(job) = job() {
        let spec = Spec::symmetric(&[job[0].parse().unwrap(); 5], Activation::Relu);
        let model = Path::new(&job[1]).with_extension("safetensors");
        session(&gpu(), &spec, Training::default()).save(&model).unwrap();
        let opened = Session::open(&gpu(), &model).unwrap();
        assert_eq!(opened.tensors().len(), 16);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        return std::fs::write(&job[1], peak.trim().trim_end_matches(" kB")).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let peak = |width: &str| {
        let file = path(&folder, width);
        start(TEST, &[width, text(&file)]);
        std::fs::read_to_string(&file).unwrap().parse::<u64>().unwrap() >> 10
    };
    let (small, large) = (peak("16"), peak("2048"));
    let device = if gpu().kind() == AdapterKind::Software { 128 } else { 0 };
    let (copies, tensor) = (64, 16);
    assert!(large > small + device / 2, "a software device's memory counts: {large} and {small} MiB");
    let most = small + device + copies + 4 * tensor;
    assert!(large <= most, "{large} MiB at most, {small} for a small model: {most} allowed");
}
