//! Tuning: tiles that were measured, or given, take their products and change no bit on software adapters; checkpoints
//! and files hold them, and refuse what does not fit. Nothing here depends on how long anything takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{gpu, values};
use crate::what_this_device_lacks::{Need, has};
use serde_json::{Value, json};
use strait::internals::kernel::{SUBGROUP, Tile};
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Limits, Product, Recording, Target, Tuning};
use strait::internals::train::Trial;
use strait::model::{Precision, Purpose};
use strait::train::Trials;
use strait::{Activation, Data, Error, Gpu, Session, Spec, Training, wgpu};
use tempfile::tempdir;

/// More than any test takes.
const AMPLE: Duration = Duration::from_secs(3600);

fn spec() -> Spec {
    Spec::symmetric(&[12, 20, 5], Activation::Tanh)
}

fn data() -> Data {
    Data::from_rows(12, values(60, 12 * 40, (-1.0, 1.0))).unwrap()
}

fn session() -> Session {
    Session::new(&gpu(), &spec(), training()).unwrap()
}

fn training() -> Training {
    Training { batch: 16, epochs: 4, ..Training::default() }
}

fn target() -> Target {
    Target::of(&gpu(), 16)
}

/// The products of a step of the session, each with the tile that it takes.
fn products(target: Target) -> Vec<(Product, Tile)> {
    products_of(&spec(), target)
}

fn products_of(spec: &Spec, target: Target) -> Vec<(Product, Tile)> {
    let graph = Network::new(spec).unwrap().graph(Purpose::Train, true).unwrap();
    Recording::new(&graph, target).unwrap().products()
}

/// A tuning with the last tile that a target can use and that is not the default, for every product of a step.
fn other_for(target: &Target) -> Tuning {
    let other =
        |product: &Product, default: Tile| target.tiles(product).filter(|&tile| tile != default).last().unwrap();
    let named = |(product, default)| (product, other(&product, default));
    Tuning { tiles: products(target.clone()).into_iter().map(named).collect() }
}

fn other() -> Tuning {
    other_for(&target())
}

/// A tile that is made for the other kind of adapter.
fn unusable() -> Tile {
    Tile::ALL.into_iter().find(|&tile| !target().can_use(tile)).unwrap()
}

/// Where the loss and the parameters of a whole run end, to the bit. (How many steps a report tells of is a matter of
/// time.)
fn run(session: &mut Session) -> (u64, Vec<u32>) {
    session.fit(data()).unwrap();
    (session.evaluate(data()).unwrap().loss.to_bits(), bits(session))
}

fn bits(session: &Session) -> Vec<u32> {
    session.parameters().unwrap().iter().flatten().map(|v| v.to_bits()).collect()
}

#[test]
fn a_plan_asks_the_tuning_before_its_defaults() {
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        let target = Target { kind, ..target() };
        let tuning = other_for(&target);
        let with = |tuning: Tuning| Target { tuning: Some(Arc::new(tuning)), ..target.clone() };
        let (plain, tuned) = (products(target.clone()), products(with(tuning.clone())));
        assert_eq!(plain.len(), 11, "forward four, backward twice as many less the first layer's one");
        assert_eq!(plain.len(), tuned.len());
        for ((product, default), (same, tile)) in plain.iter().zip(&tuned) {
            assert_eq!(product, same);
            assert!(*tile == tuning.tiles[product] && tile != default, "{kind:?}, {product}");
        }
        // What it does not name keeps its default.
        let renamed = |product: &Product| Product { tb: !product.tb, rows: product.rows + 1, ..*product };
        let elsewhere = tuning.tiles.iter().map(|(product, tile)| (renamed(product), *tile)).collect();
        assert_eq!(products(with(Tuning { tiles: elsewhere })), plain);
        // A suite's tile goes before both.
        let tile = target.tiles(&plain[0].0).next().unwrap();
        let all = products(Target { tile: Some(tile), ..with(tuning) });
        assert!(all.into_iter().all(|(_, used)| used == tile));
    }
}

#[test]
fn products_are_told_as_they_are_multiplied() {
    // 16 rows of 12 features to 20 units, and that weight's gradient.
    let products: Vec<String> = products(target()).iter().map(|(product, _)| product.to_string()).collect();
    assert!(products.contains(&"16x12x20 NN".into()), "{products:?}");
    assert!(products.contains(&"12x16x20 TN".into()), "{products:?}");
    let product = Product { rows: 16, inner: 12, columns: 20, ta: false, tb: false, half: false };
    assert_eq!(product.flops(), 2 * 16 * 12 * 20);
    assert_eq!(Product { rows: usize::MAX, ..product }.flops(), u64::MAX, "no overflow");
}

#[test]
fn a_tile_that_the_adapter_cannot_use_is_refused() {
    let (product, _) = products(target())[0];
    let no_tile = [Tile::Registers { rows: 0, quads: 0 }, Tile::Shared { rows: 5, quads: 3, side: 16 }];
    for tile in no_tile.into_iter().chain([unusable()]) {
        let tuning = Tuning { tiles: [(product, tile)].into() };
        let mut session = session();
        let refused = session.use_tuning(tuning.clone()).unwrap_err();
        assert!(
            matches!(&refused, Error::Spec { field, value, allowed, .. }
            if field == "tuning" && value.contains(&product.to_string()) && !allowed.is_empty()),
            "{refused}"
        );
        assert!(session.tuning().is_empty(), "nothing was changed");
        let graph = Network::new(&spec()).unwrap().graph(Purpose::Train, true).unwrap();
        let refused = Recording::new(&graph, Target { tuning: Some(Arc::new(tuning)), ..target() }).unwrap_err();
        assert!(matches!(refused, Error::Spec { .. }), "{refused}");
    }
    // Subgroups of one size alone.
    let tile = Tile::Subgroup { rows: 16, quads: 1 };
    for (subgroup, usable) in [(0, false), (4, false), (SUBGROUP as u32, true), (32, false)] {
        let limits = Limits { subgroup, ..Limits::DEFAULT };
        assert_eq!(Target { kind: AdapterKind::Software, limits, ..target() }.can_use(tile), usable, "{subgroup}");
        assert!(!Target { kind: AdapterKind::Hardware, limits, ..target() }.can_use(tile));
    }
}

#[test]
fn every_adapter_has_tiles_to_choose_among() {
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        let target = Target { kind, limits: Limits::DEFAULT, ..target() };
        for (product, default) in products(target.clone()) {
            assert!(target.tiles(&product).count() > 1, "{kind:?}");
            assert!(target.can_take(&product, default), "{kind:?}");
        }
    }
}

#[test]
fn no_budget_measures_nothing() {
    let mut session = session();
    assert_eq!(session.tune(Duration::ZERO).unwrap(), Trials::default());
    assert!(session.tuning().is_empty());
    session.load(data()).unwrap();
    assert_eq!(session.tune(Duration::ZERO).unwrap(), Trials::default());
}

#[test]
fn tuning_times_every_product_once() {
    check_tuning(&spec());
}

/// A product of factors in half precision is another one.
#[test]
fn tuning_tells_precisions_apart() {
    if !has("tuning::tuning_tells_precisions_apart", Need::F16) {
        return;
    }
    let half = Spec { precision: Precision::F16, ..spec() };
    for (product, _) in products_of(&half, target()) {
        assert!(product.half && product.to_string().ends_with(" f16"));
    }
    check_tuning(&half);
    // What was measured in one precision says nothing of the other.
    let mut session = Session::new(&gpu(), &half, training()).unwrap();
    session.use_tuning(other()).unwrap();
    let all = session.tune(AMPLE).unwrap().0.len();
    assert_eq!(all, other().tiles.len());
}

fn check_tuning(spec: &Spec) {
    let mut session = Session::new(&gpu(), spec, training()).unwrap();
    let trials = session.tune(AMPLE).unwrap();
    let mut wanted: Vec<Product> = products_of(spec, target()).into_iter().map(|(product, _)| product).collect();
    wanted.sort();
    wanted.dedup();
    let mut found: Vec<Product> = trials.0.iter().map(|trial| trial.product).collect();
    found.sort();
    assert_eq!(found, wanted);
    for trial in &trials.0 {
        let times: Vec<f64> = trial.times.iter().map(|(_, seconds)| *seconds).collect();
        assert!(trial.times.len() > 1 && times.is_sorted() && times.iter().all(|t| t.is_finite()), "{trial:?}");
        assert!(trial.seconds(trial.default).is_some(), "the default is among those tried: {trial:?}");
        let best = trial.seconds(trial.chosen()).unwrap();
        assert!(best <= times[0] * 1.04, "the fastest, or one that is all but as fast: {trial:?}");
        assert_eq!(session.tuning().tiles[&trial.product], trial.chosen());
        assert!(trials.to_string().contains(&trial.product.to_string()));
    }
    assert_eq!(session.tuning().tiles.len(), wanted.len());
    // What is known is not measured again.
    assert_eq!(session.tune(AMPLE).unwrap(), Trials::default());
    // A tuning that knows a part is completed.
    let tile = trials.0[0].chosen();
    session.use_tuning(Tuning { tiles: [(wanted[0], tile)].into() }).unwrap();
    assert_eq!(session.tune(AMPLE).unwrap().0.len(), wanted.len() - 1);
    assert_eq!(session.tuning().tiles[&wanted[0]], tile);
}

#[test]
fn a_default_gives_way_to_what_is_clearly_faster() {
    let (product, default) = products(target())[0];
    let tile = target().tiles(&product).find(|&tile| tile != default).unwrap();
    for (seconds, chosen) in [(0.5, tile), (0.96, tile), (0.99, default), (1.0, default), (2.0, default)] {
        let mut times = vec![(default, 1.0f64), (tile, seconds)];
        times.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let trial = Trial { product, default, times };
        assert_eq!(trial.chosen(), chosen, "{seconds}");
        assert_eq!((trial.seconds(tile), trial.seconds(unusable())), (Some(seconds), None));
    }
    assert_eq!(Trial { product, default, times: vec![] }.chosen(), default);
}

/// What follows holds on software adapters; on others tiles may round otherwise.
fn same_bits() -> bool {
    gpu().kind() == AdapterKind::Software
}

#[test]
fn a_tuned_run_gives_the_bits_of_one_that_is_not() {
    let plain = run(&mut session());
    let mut tuned = session();
    tuned.use_tuning(other()).unwrap();
    let found = run(&mut tuned);
    assert!(!same_bits() || found == plain, "tiles given");
    let mut measured = session();
    measured.tune(AMPLE).unwrap();
    let found = run(&mut measured);
    assert!(!same_bits() || found == plain, "tiles measured");
    let rows = data();
    let (codes, plain) = (tuned.encode(rows.values()).unwrap(), measured.encode(rows.values()).unwrap());
    assert!(!same_bits() || codes == plain);
}

#[test]
fn a_loaded_run_is_planned_anew_and_goes_on() {
    let mut plain = session();
    run(&mut plain);
    for measured in [false, true] {
        let mut session = session();
        session.load(data()).unwrap();
        assert_eq!(session.step(5).unwrap().steps(), 5);
        let kernels = |session: &mut Session| {
            let profile = session.profile(1).unwrap();
            profile.dispatches.into_iter().map(|dispatch| dispatch.label).collect::<Vec<_>>()
        };
        let before = kernels(&mut session);
        if measured {
            session.tune(AMPLE).unwrap();
        } else {
            session.use_tuning(other()).unwrap();
        }
        assert_eq!(session.steps(), 6);
        let after = kernels(&mut session);
        assert!(measured || before != after, "other tiles have other names: {before:?}");
        session.fit(data()).unwrap();
        assert_eq!(session.steps(), plain.steps());
        assert!(!same_bits() || bits(&session) == bits(&plain), "measured {measured}");
    }
    // The step is tuned for the batches that it has: data may hold fewer rows than a batch asks for.
    let few = Data::from_rows(12, values(61, 12 * 7, (-1.0, 1.0))).unwrap();
    let mut session = session();
    session.load(few).unwrap();
    session.use_tuning(Tuning::default()).unwrap();
    let trials = session.tune(AMPLE).unwrap();
    assert!(trials.0.iter().all(|trial| [trial.product.rows, trial.product.inner].contains(&7)), "{trials}");
}

#[test]
fn a_resumed_run_has_the_tuning() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = session();
    run(&mut whole);
    let mut session = session();
    session.use_tuning(other()).unwrap();
    session.load(data()).unwrap();
    session.step(5).unwrap();
    session.checkpoint(&path).unwrap();
    let mut resumed = Session::resume(&gpu(), &path).unwrap();
    assert_eq!(*resumed.tuning(), other());
    resumed.fit(data()).unwrap();
    assert!(!same_bits() || bits(&resumed) == bits(&whole));
    // A model is no run.
    assert!(Session::open(&gpu(), &path).unwrap().tuning().is_empty());
    // Another adapter's tiles give way to the defaults.
    let tile = serde_json::to_value(unusable()).unwrap();
    change_run(&path, |run| run["tuning"][0]["tile"] = tile);
    let resumed = Session::resume(&gpu(), &path).unwrap();
    let mut rest = other();
    rest.tiles.pop_first();
    assert_eq!(*resumed.tuning(), rest);
    // Lies are refused, and files of before there was tuning are not.
    let lie = |change: &dyn Fn(&mut Value)| {
        session.checkpoint(&path).unwrap();
        change_run(&path, change);
        Session::resume(&gpu(), &path).map(|session| session.tuning().clone())
    };
    let refused = |change: &dyn Fn(&mut Value)| match lie(change).unwrap_err() {
        Error::Checkpoint { place, .. } => assert_eq!(place, "strait.run"),
        error => panic!("{error}"),
    };
    refused(&|run| run["tuning"] = json!(7));
    refused(&|run| run["tuning"][0]["tile"] = json!({ "registers": { "rows": -4, "quads": 1 } }));
    refused(&|run| run["tuning"][0]["tile"] = json!({ "diagonal": {} }));
    refused(&|run| run["tuning"][1] = run["tuning"][0].clone());
    refused(&|run| run["tuning"][0]["product"]["depth"] = json!(1));
    let old = lie(&|run| drop(run.as_object_mut().unwrap().remove("tuning")));
    assert!(old.unwrap().is_empty());
}

#[test]
fn a_run_without_a_tuning_is_written_as_before() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    session().checkpoint(&path).unwrap();
    change_run(&path, |run| assert!(run.get("tuning").is_none(), "{run}"));
}

/// Changes the state of a run in a checkpoint.
fn change_run(path: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let mut run: Value = serde_json::from_str(&metadata["strait.run"]).unwrap();
    change(&mut run);
    metadata.insert("strait.run".into(), run.to_string());
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    std::fs::write(path, safetensors::serialize(file.tensors(), Some(metadata)).unwrap()).unwrap();
}

/// The only file in a folder.
fn only(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert!(files.next().is_none(), "one file for an adapter, and nothing left beside it");
    file
}

#[test]
fn a_folder_holds_an_adapters_tuning() {
    let folder = tempdir().unwrap();
    let load = || Tuning::load(folder.path(), &gpu());
    assert_eq!(load().unwrap(), None, "no file");
    assert_eq!(Tuning::load(folder.path().join("nowhere"), &gpu()).unwrap(), None, "no folder");
    other().save(folder.path(), &gpu()).unwrap();
    assert_eq!(load().unwrap(), Some(other()));
    only(folder.path());
    // What another model needs is added, what is measured anew replaced.
    let (product, tile) = products(target())[0];
    let added = Product { rows: 99, ..product };
    Tuning { tiles: [(product, tile), (added, tile)].into() }.save(folder.path(), &gpu()).unwrap();
    let mut all = other();
    all.tiles.extend([(product, tile), (added, tile)]);
    assert_eq!(load().unwrap(), Some(all));
    let missing = other().save(folder.path().join("nowhere"), &gpu()).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
}

#[test]
fn a_file_for_another_driver_or_other_kernels_is_not_used() {
    let folder = tempdir().unwrap();
    other().save(folder.path(), &gpu()).unwrap();
    let path = only(folder.path());
    let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["adapter"], gpu().adapter().name);
    assert_eq!(written["driver"], gpu().adapter().driver);
    assert_eq!(written["backend"], gpu().adapter().backend);
    for key in ["adapter", "driver", "backend", "kernels"] {
        let mut file = written.clone();
        file[key] = json!("another");
        // Another version may write something else altogether.
        file["tuning"] = json!({ "format": 2 });
        std::fs::write(&path, file.to_string()).unwrap();
        assert_eq!(Tuning::load(folder.path(), &gpu()).unwrap(), None, "{key}");
        // And it gives way.
        other().save(folder.path(), &gpu()).unwrap();
        assert_eq!(Tuning::load(folder.path(), &gpu()).unwrap(), Some(other()), "{key}");
    }
}

/// A host's device may lack every feature: its times are then the host's, and what was measured with them is another
/// matter.
#[test]
fn a_device_without_features_is_tuned_apart() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let same = |adapter: &wgpu::Adapter| adapter.get_info().name == gpu().adapter().name;
    let adapter = adapters.into_iter().find(same).unwrap();
    let device = adapter.request_device(&wgpu::DeviceDescriptor::default());
    let (device, queue) = pollster::block_on(device).unwrap();
    let plain = Gpu::adopt(device, queue);
    assert!(!plain.has_timestamps());
    let mut session = Session::new(&plain, &spec(), Training { batch: 16, ..Training::default() }).unwrap();
    assert!(!session.tune(AMPLE).unwrap().0.is_empty());
    let folder = tempdir().unwrap();
    session.tuning().save(folder.path(), &plain).unwrap();
    assert_eq!(Tuning::load(folder.path(), &plain).unwrap(), Some(Tuning::clone(&session.tuning())));
    // With subgroups of a known size there are other tiles, with integers of 64 bits other texts, with half precision further ones.
    let Limits { subgroup, int64, f16, .. } = gpu().limits();
    let more = f16 || (gpu().kind() == AdapterKind::Software && (subgroup as usize == SUBGROUP || int64));
    assert_eq!(Tuning::load(folder.path(), &gpu()).unwrap().is_none(), more);
}

#[test]
fn a_damaged_file_is_refused_with_its_path() {
    let folder = tempdir().unwrap();
    other().save(folder.path(), &gpu()).unwrap();
    let path = only(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let refused = |what: &str, bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match Tuning::load(folder.path(), &gpu()).unwrap_err() {
            Error::Checkpoint { path: named, found, .. } => assert!(named == path && !found.is_empty(), "{what}"),
            error => panic!("{what}: {error}"),
        }
    };
    for cut in (0..whole.trim_ascii_end().len()).step_by(7) {
        refused(&format!("cut at {cut}"), &whole[..cut]);
    }
    refused("longer", &[&whole[..], b"}"].concat());
    let written: Value = serde_json::from_slice(&whole).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut file = written.clone();
        change(&mut file);
        file.to_string().into_bytes()
    };
    refused("no driver", &changed(&|file| drop(file.as_object_mut().unwrap().remove("driver"))));
    refused("no tuning", &changed(&|file| drop(file.as_object_mut().unwrap().remove("tuning"))));
    refused("a product twice", &changed(&|file| file["tuning"][1] = file["tuning"][0].clone()));
    refused("no tile", &changed(&|file| file["tuning"][0]["tile"] = json!("largest")));
    let rows = json!({ "rows": 0, "quads": 0 });
    refused("a tile that does not exist", &changed(&|file| file["tuning"][0]["tile"] = json!({ "registers": rows })));
    let tile = serde_json::to_value(unusable()).unwrap();
    refused("another adapter's tile", &changed(&|file| file["tuning"][0]["tile"] = tile.clone()));
    // Where there was a damaged one, a new one is written.
    other().save(folder.path(), &gpu()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

/// Whichever tile a product takes, the run is the same to the bit.
#[test]
fn every_tile_gives_the_same_run() {
    let plain = run(&mut session());
    let all = products(target());
    for (product, _) in &all {
        for tile in target().tiles(product) {
            let mut tuned = session();
            tuned.use_tuning(Tuning { tiles: [(*product, tile)].into() }).unwrap();
            assert!(!same_bits() || run(&mut tuned) == plain, "{tile} for {product}");
        }
    }
}
