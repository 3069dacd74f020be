//! Every kernel of every system, for every purpose and every kind of adapter. naga takes them all to the other shading
//! languages here; `.ci/run` has them written into a folder and takes them through a second compiler of WGSL (tests/tint).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::updates::OPTIMIZERS;
use crate::{systems, translate};
use strait::graph::Graph;
use strait::internals::kernel;
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Limits, Recording, Target};
use strait::model::Purpose;
use strait::{Activation, Error, Loss, Precision, Spec};

const PURPOSES: [Purpose; 15] = [
    Purpose::Train,
    Purpose::Evaluate,
    Purpose::Encode,
    Purpose::Decode,
    Purpose::Reconstruct,
    Purpose::Score,
    Purpose::LogVariance,
    Purpose::Evidence,
    Purpose::Sparse,
    Purpose::EncoderJacobian,
    Purpose::ReconstructionJacobian,
    Purpose::Classify,
    Purpose::Mixture,
    Purpose::Resample,
    Purpose::Corrupt,
];

/// Where the kernels are written, if anywhere: a folder that is there and empty.
const FOLDER: &str = "STRAIT_KERNELS";

/// Adapters that plans differ for, by name.
fn adapters() -> Vec<(&'static str, AdapterKind, Limits)> {
    let (subgroups, words) = (Limits { subgroup: 8, ..Limits::DEFAULT }, Limits { int64: true, ..Limits::DEFAULT });
    vec![
        ("software", AdapterKind::Software, Limits::DEFAULT),
        ("software with subgroups", AdapterKind::Software, subgroups),
        ("software with u64", AdapterKind::Software, words),
        ("software with both", AdapterKind::Software, Limits { int64: true, ..subgroups }),
        ("hardware", AdapterKind::Hardware, Limits::DEFAULT),
        ("hardware, discrete", AdapterKind::Hardware, Limits { busy: 96, ..Limits::DEFAULT }),
    ]
}

/// Distinct kernels, each with the first place it is met in.
type Kernels = BTreeMap<String, String>;

/// The kernels of a graph: those that compile soon, and for batches of up to `most` rows those that run fast.
fn add(kernels: &mut Kernels, place: &str, graph: &Graph, f16: bool, most: usize) {
    for (adapter, kind, limits) in adapters() {
        for (rows, quick) in [(5, true), (most, false)] {
            let limits = Limits { f16, ..limits };
            let target =
                Target { kind, limits, rows, data_rows: 4000, tile: None, tuning: None, quick, optimise: true };
            let recording = Recording::new(graph, target).unwrap_or_else(|e| panic!("{place}, {adapter}: {e}"));
            for dispatch in recording.dispatches {
                let met = || format!("{place}, {adapter}, {rows} rows: {}", dispatch.label);
                kernels.entry(dispatch.wgsl).or_insert_with(met);
            }
        }
    }
}

/// All kernels of a spec: those of its purposes, but for what only other kinds of model have.
fn add_spec(kernels: &mut Kernels, purposes: &mut BTreeSet<Purpose>, name: &str, spec: &Spec, most: usize) {
    let network = Network::new(spec).unwrap();
    let f16 = spec.precision == Precision::F16;
    for purpose in PURPOSES {
        for shuffled in [false, true] {
            match network.graph(purpose, shuffled) {
                Ok(graph) => {
                    purposes.insert(purpose);
                    add(kernels, &format!("{name}, {purpose:?}"), &graph, f16, most);
                }
                Err(Error::Spec { .. }) => {}
                Err(e) => panic!("{name}, {purpose:?}: {e}"),
            }
        }
    }
}

/// Of every system in batches that workgroups share sums of, and of a model wide enough for every tile that is chosen.
fn all() -> Kernels {
    let (mut kernels, mut purposes) = (Kernels::new(), BTreeSet::new());
    let systems = systems::specs().into_iter().map(|(name, spec)| (name, spec, 3000));
    let wide = ("wide", Spec::symmetric(&[784, 1000, 30], Activation::Elu).loss(Loss::Bernoulli), 32);
    for (name, spec, most) in systems.chain([wide]) {
        add_spec(&mut kernels, &mut purposes, name, &spec, most);
        let halved = format!("{name}, in half precision");
        add_spec(&mut kernels, &mut purposes, &halved, &spec.precision(Precision::F16), most);
    }
    assert_eq!(purposes, BTreeSet::from(PURPOSES), "every purpose is met");
    let network = Network::new(&Spec::symmetric(&[6, 3], Activation::Tanh)).unwrap();
    for optimizer in OPTIMIZERS {
        for clip in [None, Some(1.0)] {
            let graph = optimizer.graph(network.params(), clip).unwrap();
            add(&mut kernels, &format!("{optimizer:?}, clip {clip:?}"), &graph, false, 1);
        }
    }
    for (wgsl, label) in translate::every_variant() {
        kernels.entry(wgsl).or_insert(label);
    }
    kernels.entry(kernel::finish()).or_insert("finish".into());
    kernels
}

fn write(folder: &Path, kernels: &Kernels) {
    for (i, (wgsl, place)) in kernels.iter().enumerate() {
        std::fs::write(folder.join(format!("{i:05}.wgsl")), format!("// {place}\n{wgsl}")).expect("a folder");
    }
}

#[test]
fn every_kernel_of_every_system_in_every_language() {
    let kernels = all();
    if let Some(folder) = std::env::var_os(FOLDER) {
        write(Path::new(&folder), &kernels);
    }
    for (wgsl, place) in &kernels {
        translate::translate(place, wgsl);
    }
}
