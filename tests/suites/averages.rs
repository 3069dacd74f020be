//! Averages of the parameters: their formula in f64, from parameters that are read after every step; by sets, phases and
//! players; files and lies in them; steps that go bad; no dispatch for them; what is refused.

use std::collections::HashMap;
use std::sync::Arc;

use crate::common::{self, gpu, report, until_pending, values};
use crate::phases;
use crate::sets::narrow;
use crate::updates::OPTIMIZERS;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use strait::graph::Set;
use strait::train::{Run, Trainer};
use strait::{Activation, Data, Error, Gpu, Optimizer, Session, Snapshot, Source, Spec, Taken, Training};

/// Five epochs of four steps.
const STEPS: usize = 20;

fn rows() -> Data {
    Data::from_rows(4, values(301, 23 * 4, (-1.0, 1.0))).unwrap()
}

fn spec() -> Spec {
    Spec::symmetric(&[4, 3], Activation::Tanh)
}

fn training(average: Option<f64>) -> Training {
    Training { average, batch: 6, epochs: 5, learning_rate: 0.05, ..Training::default() }
}

fn begun(gpu: &Gpu, training: Training) -> Session {
    of(gpu, &spec(), training)
}

fn of(gpu: &Gpu, spec: &Spec, training: Training) -> Session {
    let mut session = Session::new(gpu, spec, training).unwrap();
    session.load(rows()).unwrap();
    session
}

fn take(session: &mut Session, steps: usize) {
    for _ in 0..steps {
        assert_eq!(session.step(1).unwrap().steps(), 1);
        report(session);
    }
}

/// The average by its formula.
struct Plain {
    decay: f64,
    seen: i32,
    kept: Vec<f64>,
}

impl Plain {
    fn new(decay: f64) -> Plain {
        Plain { decay, seen: 0, kept: vec![] }
    }

    fn add(&mut self, parameters: &[f32]) {
        self.kept.resize(parameters.len(), 0.0);
        for (a, &p) in self.kept.iter_mut().zip(parameters) {
            *a = self.decay * *a + (1.0 - self.decay) * f64::from(p);
        }
        self.seen += 1;
    }

    /// Fails where something else is found.
    fn check(&self, found: &[f32], what: &str) {
        assert_eq!(found.len(), self.kept.len());
        for (&found, kept) in found.iter().zip(&self.kept) {
            let expected = kept / (1.0 - self.decay.powi(self.seen));
            let off = (f64::from(found) - expected).abs();
            assert!(off < 2e-6 * (0.1 + expected.abs()), "{what}, after {}: {found}, not {expected}", self.seen);
        }
    }
}

/// After every step, for every optimizer, clipped or not, for decays that forget at once and hardly ever, and where the
/// parameters are spread over several sets. The parameters are those of a run without it.
#[test]
fn it_is_what_the_formula_says() {
    // 48 KB of weights on either side.
    let (narrow, wide) = (narrow(80 << 10), Spec::symmetric(&[4, 3000], Activation::Tanh));
    for (at, optimizer) in OPTIMIZERS.into_iter().enumerate() {
        let (decay, clip_norm) = ([0.9, 0.999, 1e-3][at % 3], [None, Some(0.1)][at % 2]);
        let (gpu, spec) = if at == 3 { (narrow.clone(), wide.clone()) } else { (gpu(), spec()) };
        let training = Training { optimizer, clip_norm, ..training(Some(decay)) };
        let mut session = of(&gpu, &spec, training);
        let mut without = of(&gpu, &spec, Training { average: None, ..training });
        assert!(session.average().unwrap() == session.parameters().unwrap(), "before the first step");
        if at == 3 {
            let one = of(&common::gpu(), &spec, training);
            assert!(session.dispatches_per_step() > one.dispatches_per_step(), "an update for each of several sets");
        }
        let mut plain = Plain::new(decay);
        for step in 0..STEPS {
            take(&mut session, 1);
            take(&mut without, 1);
            let parameters = session.parameters().unwrap().concat();
            plain.add(&parameters);
            plain.check(&session.average().unwrap().concat(), &format!("{optimizer:?}, decay {decay}"));
            let other = without.parameters().unwrap().concat();
            let apart = parameters.iter().zip(&other).find(|(a, b)| (**a - **b).abs() > 1e-5);
            assert!(apart.is_none(), "{optimizer:?}, step {step}: {apart:?}");
        }
        // Several steps in a submit, and a run after that one.
        let once = session.average().unwrap();
        let mut fitted = of(&gpu, &spec, training);
        fitted.fit(rows()).unwrap();
        assert!(fitted.average().unwrap() == once);
        assert_eq!(session.step(1).unwrap(), Taken::Over);
        session.load(rows()).unwrap();
        assert!(session.average().unwrap() == once);
        take(&mut session, 1);
        plain.add(&session.parameters().unwrap().concat());
        plain.check(&session.average().unwrap().concat(), "the next run");
    }
}

/// A long average of what hardly moves keeps its digits: made with roundings of .9999 and of what is left of 1 it would be
/// off by 9e-6 of itself, as it is made by 1.2e-6, both computed in f32 outside strait.
#[test]
fn a_long_average_of_the_same_is_the_same() {
    let mut session = begun(&gpu(), Training { learning_rate: 1e-12, epochs: 100, ..training(Some(0.9999)) });
    let parameters = session.parameters().unwrap().concat();
    session.fit(rows()).unwrap();
    for (found, expected) in session.average().unwrap().concat().into_iter().zip(parameters) {
        assert!((found - expected).abs() <= 4e-6 * expected.abs() + 1e-9, "{found}, not {expected}");
    }
}

/// It is computed where the parameters are, with no dispatch of its own, at WebGPU's default limits.
#[test]
fn it_costs_no_dispatch() {
    for (optimizer, clip_norm) in OPTIMIZERS.into_iter().flat_map(|o| [(o, None), (o, Some(0.1))]) {
        let [with, without] = [Some(0.99), None]
            .map(|average| begun(&gpu(), Training { optimizer, clip_norm, ..training(average) }).dispatches_per_step());
        assert!(with.is_some() && with == without, "{optimizer:?}, {clip_norm:?}: {with:?} and {without:?}");
    }
}

/// Checkpoints and snapshots have it, to the bit; one without, and other decays, begin it anew and count from there.
#[test]
fn files_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("middle");
    let mut whole = begun(&gpu(), training(Some(0.9)));
    whole.fit(rows()).unwrap();
    let mut broken = begun(&gpu(), training(Some(0.9)));
    take(&mut broken, 7);
    let average = broken.average().unwrap();
    broken.checkpoint(&file).unwrap();
    for mut resumed in
        [Session::resume(&gpu(), &file).unwrap(), Session::restore(&gpu(), &broken.snapshot().unwrap()).unwrap()]
    {
        assert!(resumed.average().unwrap() == average, "before data is loaded");
        resumed.fit(rows()).unwrap();
        assert!(resumed.average().unwrap() == whole.average().unwrap());
        assert!(resumed.parameters().unwrap() == whole.parameters().unwrap());
    }
    // What comes after a change is averaged from there.
    let anew = |mut session: Session, decay| {
        session.set_training(training(Some(decay))).unwrap();
        session.load(rows()).unwrap();
        assert!(session.average().unwrap() == session.parameters().unwrap());
        let mut plain = Plain::new(decay);
        for _ in 0..3 {
            take(&mut session, 1);
            plain.add(&session.parameters().unwrap().concat());
        }
        plain.check(&session.average().unwrap().concat(), "anew");
        session
    };
    let other = anew(Session::resume(&gpu(), &file).unwrap(), 0.5);
    let mut without = begun(&gpu(), training(None));
    take(&mut without, 2);
    without.checkpoint(&file).unwrap();
    let text = run_of(&std::fs::read(&file).unwrap());
    assert!(text.get("average").is_none() && text["training"].get("average").is_none(), "as without averages: {text}");
    let mut late = anew(Session::resume(&gpu(), &file).unwrap(), 0.9);
    let again = Session::restore(&gpu(), &late.snapshot().unwrap()).unwrap();
    assert!(again.average().unwrap() == late.average().unwrap());
    late.set_training(training(None)).unwrap();
    late.load(rows()).unwrap();
    assert!(matches!(late.average(), Err(Error::Data { .. })));
    anew(late, 0.9);
    drop(other);
}

/// Where a run stands, of a file of a session.
fn run_of(bytes: &[u8]) -> Value {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    serde_json::from_str(&header.metadata().as_ref().unwrap()["strait.run"]).unwrap()
}

#[test]
fn files_that_lie_about_it_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lies");
    let mut session = begun(&gpu(), training(Some(0.9)));
    take(&mut session, 3);
    session.checkpoint(&file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for lie in [
        json!({"decay": 1.0, "before": 0}),
        json!({"decay": 0.9, "before": 4}),
        json!({"decay": 0.9}),
        json!({"decay": 0.9, "before": -1}),
    ] {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut metadata: HashMap<String, String> = header.metadata().clone().unwrap();
        let mut run = run_of(&bytes);
        run["average"] = lie.clone();
        metadata.insert("strait.run".into(), run.to_string());
        std::fs::write(&file, safetensors::serialize(tensors.tensors(), Some(metadata)).unwrap()).unwrap();
        let refused = Session::resume(&gpu(), &file);
        assert!(matches!(refused, Err(Error::Checkpoint { .. })), "{lie}: {refused:?}");
    }
    // A tensor of it where the run has none, and none where it has one.
    for has in [true, false] {
        let mut without = begun(&gpu(), training((!has).then_some(0.9)));
        take(&mut without, 3);
        without.checkpoint(&file).unwrap();
        let other = std::fs::read(&file).unwrap();
        let metadata = SafeTensors::read_metadata(&other).unwrap().1.metadata().clone();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let tensors = tensors.into_iter().filter(|(name, _)| has || !name.starts_with("average."));
        std::fs::write(&file, safetensors::serialize(tensors, metadata).unwrap()).unwrap();
        match Session::resume(&gpu(), &file) {
            Err(Error::Checkpoint { place, .. }) => assert!(place.starts_with("average."), "{place}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The run of the suite `phases` with averages of the encoder, in both phases, and of the critic, which is taken twice a
/// turn; the decoder is trained without, and the state by nobody.
fn run() -> Run {
    let mut run = phases::run(true, false);
    for phase in &mut run.phases {
        for update in phase.steps.iter_mut().flat_map(|step| &mut step.updates) {
            update.average = match update.sets[..] {
                [Set(1)] => None,
                [Set(2)] => Some(0.5),
                _ => Some(0.9),
            };
        }
    }
    run
}

/// In a trainer every set has its own, which counts the set's own updates and begins with the phase: in submits that end in
/// the middle of turns, and from a checkpoint after each of them.
#[test]
fn sets_of_a_trainer_have_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = phases::begun(&gpu(), run());
    assert!(matches!(trainer.average(), Err(Error::Data { .. })));
    let mut ends: Vec<(Vec<Vec<f32>>, Snapshot)> = Vec::new();
    for phase in 0..2 {
        trainer.load(phases::data()).unwrap();
        assert!(trainer.average().unwrap() == trainer.parameters().unwrap(), "a phase begins anew");
        let (mut encoder, mut decoder, mut critic) = (Plain::new(0.9), Plain::new(0.9), Plain::new(0.5));
        let mut step = 0;
        while trainer.step(1).unwrap().steps() > 0 {
            phases::report(&mut trainer).ok();
            let now = trainer.parameters().unwrap();
            // In the second phase the critic is taken twice, then the model, then what watches.
            match (phase, step % 4) {
                (0, _) => {
                    encoder.add(&now[0]);
                    decoder.add(&now[1..3].concat());
                }
                (_, 0 | 1) => critic.add(&now[3]),
                (_, 2) => encoder.add(&now[0]),
                _ => {}
            }
            let found = trainer.average().unwrap();
            for (plain, found) in [(&encoder, &found[0]), (&decoder, &found[1..3].concat()), (&critic, &found[3])] {
                if plain.seen > 0 {
                    plain.check(found, &format!("phase {phase}, step {step}"));
                }
            }
            if phase == 1 {
                assert!(found[1..3] == now[1..3], "what is not averaged is told as it is");
            }
            assert!(found[4..] == now[4..]);
            step += 1;
            if step % 3 == 1 {
                let path = folder.path().join("trainer");
                trainer.checkpoint(&path).unwrap();
                trainer = Trainer::resume(&gpu(), run(), &path).unwrap();
                assert!(trainer.average().unwrap() == found, "as it was saved");
                trainer.load(phases::data()).unwrap();
            }
        }
        assert_eq!(step, [9, 80][phase]);
        ends.push((trainer.average().unwrap(), trainer.snapshot().unwrap()));
    }
    let mut whole = phases::begun(&gpu(), run());
    for (end, snapshot) in ends {
        whole.fit(phases::data()).unwrap();
        assert!(whole.average().unwrap() == end);
        // It is there after the end of a phase, too, and may take the parameters' place.
        let mut restored = Trainer::restore(&gpu(), run(), &snapshot).unwrap();
        assert!(restored.average().unwrap() == end);
        restored.use_average().unwrap();
        assert!(restored.parameters().unwrap() == end);
    }
    // A run that averages less goes on with less, one that averages otherwise begins anew.
    let mut other = phases::run(true, false);
    other.phases[1].steps[0].updates[0].average = Some(0.25);
    let mut trainer = phases::begun(&gpu(), run());
    trainer.fit(phases::data()).unwrap();
    trainer.load(phases::data()).unwrap();
    trainer.step(5).unwrap();
    let mut trainer = Trainer::restore(&gpu(), other, &trainer.snapshot().unwrap()).unwrap();
    trainer.load(phases::data()).unwrap();
    assert!(trainer.average().unwrap() == trainer.parameters().unwrap());
    trainer.step(1).unwrap();
    let mut critic = Plain::new(0.25);
    critic.add(&trainer.parameters().unwrap()[3]);
    critic.check(&trainer.average().unwrap()[3], "anew");
    // Where steps are taken more or less often than before, nobody knows how many updates it has seen: it begins anew, too.
    let mut seldom = run();
    seldom.phases[1].steps[0].repeat = 1;
    let mut trainer = phases::begun(&gpu(), run());
    trainer.fit(phases::data()).unwrap();
    trainer.load(phases::data()).unwrap();
    trainer.step(5).unwrap();
    let mut trainer = Trainer::restore(&gpu(), seldom, &trainer.snapshot().unwrap()).unwrap();
    assert!(matches!(trainer.average(), Err(Error::Data { .. })));
    trainer.load(phases::data()).unwrap();
    assert!(trainer.average().unwrap() == trainer.parameters().unwrap());
}

/// Rows that look well until they are read, which is the last thing that loading does.
struct Failing {
    rows: usize,
    columns: usize,
}

impl Source for Failing {
    fn rows(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read(&self, first_row: usize, _: &mut [f32]) -> strait::Result<()> {
        Err(Error::data(format!("failing: row {first_row}"), "nothing", "a row"))
    }
    fn name(&self) -> &str {
        "failing"
    }
}

fn failing(like: &Data) -> Arc<dyn Source> {
    Arc::new(Failing { rows: like.rows(), columns: like.columns() })
}

/// Loads them in vain, and drops that at every point where it waits; `check` is told after each of these.
fn load_in_vain<T>(owner: &mut T, load: impl AsyncFn(&mut T) -> strait::Result<()>, check: impl Fn(&T, usize)) {
    for times in 0.. {
        let loaded = until_pending(load(owner), times);
        check(owner, times);
        match loaded {
            None => {}
            Some(Err(Error::Data { place, .. })) if place == "failing: row 0" => return assert!(times > 2, "{times}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Loading that fails, or is dropped, changes nothing of what was there: not where the averages would have ended or begun
/// anew with it, nor where a phase would have.
#[test]
fn loading_that_fails_changes_nothing() {
    let mut undisturbed = begun(&gpu(), training(Some(0.9)));
    take(&mut undisturbed, 5);
    let mut session = begun(&gpu(), training(Some(0.9)));
    take(&mut session, 3);
    let kept = session.average().unwrap();
    for average in [None, Some(0.5), Some(0.9)] {
        session.set_training(training(average)).unwrap();
        load_in_vain(
            &mut session,
            async |session: &mut Session| session.load_async(failing(&rows()), |_| {}).await,
            |session, times| assert!(session.average().unwrap() == kept, "{average:?}, {times}"),
        );
    }
    session.load(rows()).unwrap();
    take(&mut session, 2);
    assert!(session.average().unwrap() == undisturbed.average().unwrap());

    let mut undisturbed = phases::begun(&gpu(), run());
    undisturbed.fit(phases::data()).unwrap();
    undisturbed.fit(phases::data()).unwrap();
    let mut trainer = phases::begun(&gpu(), run());
    // In the middle of the first phase, which has 9 steps, and after its end.
    for steps in [4, 5] {
        trainer.load(phases::data()).unwrap();
        for _ in 0..steps {
            assert_eq!(trainer.step(1).unwrap().steps(), 1);
            phases::report(&mut trainer).unwrap();
        }
        let kept = trainer.average().unwrap();
        let stands = |trainer: &Trainer| (trainer.phase().map(|phase| phase.name.clone()), trainer.steps());
        let stood = stands(&trainer);
        load_in_vain(
            &mut trainer,
            async |trainer: &mut Trainer| trainer.load_async(failing(&phases::data()), |_| {}).await,
            |trainer, times| {
                assert!(trainer.average().unwrap() == kept, "after {stood:?}, {times}");
                assert_eq!(stands(trainer), stood, "{times}");
            },
        );
        let restored = Trainer::restore(&gpu(), run(), &trainer.snapshot().unwrap()).unwrap();
        assert!(restored.average().unwrap() == kept);
    }
    trainer.fit(phases::data()).unwrap();
    assert!(trainer.phase().is_none());
    assert!(trainer.average().unwrap() == undisturbed.average().unwrap());
    assert!(trainer.parameters().unwrap() == undisturbed.parameters().unwrap());
}

/// A step whose objective is not finite leaves it as it was, also where others were submitted after it. One whose update is
/// taken in part ends it: it begins anew.
#[test]
fn a_step_that_goes_bad_does_not_spoil_it() {
    // Rows 8 to 11 are the third step.
    let mut bad = values(302, 24 * 4, (-1.0, 1.0));
    bad[9 * 4] = 1e25;
    let bad = Data::from_rows(4, bad).unwrap();
    let training = Training { batch: 4, shuffle: false, ..training(Some(0.9)) };
    let mut good = Session::new(&gpu(), &spec(), training).unwrap();
    good.load(&bad).unwrap();
    let mut plain = Plain::new(0.9);
    for _ in 0..2 {
        take(&mut good, 1);
        plain.add(&good.parameters().unwrap().concat());
    }
    let mut session = Session::new(&gpu(), &spec(), training).unwrap();
    session.load(&bad).unwrap();
    assert_eq!(session.step(6).unwrap().steps(), 6);
    // Nobody has read yet how they ended.
    plain.check(&session.average().unwrap().concat(), "six were submitted");
    assert!(matches!(session.fit(&bad), Err(Error::Diverged { step: 2, .. })));
    assert!(session.average().unwrap() == good.average().unwrap());
    session.load(rows()).unwrap();
    take(&mut session, 1);
    plain.add(&session.parameters().unwrap().concat());
    plain.check(&session.average().unwrap().concat(), "the run goes on");

    let steep = Training { learning_rate: 3e38, optimizer: Optimizer::SGD, ..training };
    let large = Data::from_rows(4, values(303, 8 * 4, (-100.0, 100.0))).unwrap();
    let mut torn = Session::new(&gpu(), &spec(), steep).unwrap();
    torn.load(&large).unwrap();
    torn.step(1).unwrap();
    let unread = torn.average();
    assert!(matches!(&unread, Err(Error::Diverged { step: 0, term }) if term == "update"), "{unread:?}");
    assert!(matches!(torn.fit(&large), Err(Error::Diverged { step: 0, .. })));
    assert!(matches!(torn.average(), Err(Error::Diverged { step: 0, .. })));
    let small: Vec<Vec<f32>> = torn.parameters().unwrap().iter().map(|p| vec![0.01; p.len()]).collect();
    torn.set_parameters(&small).unwrap();
    torn.set_training(Training { learning_rate: 1e-3, ..steep }).unwrap();
    torn.load(rows()).unwrap();
    let mut plain = Plain::new(0.9);
    for _ in 0..3 {
        take(&mut torn, 1);
        plain.add(&torn.parameters().unwrap().concat());
    }
    plain.check(&torn.average().unwrap().concat(), "after a torn step");
}

/// A model with these parameters computes the same, and the average goes on.
#[test]
fn it_takes_the_place_of_the_parameters() {
    let mut session = begun(&gpu(), training(Some(0.9)));
    let mut plain = Plain::new(0.9);
    for _ in 0..10 {
        take(&mut session, 1);
        plain.add(&session.parameters().unwrap().concat());
    }
    let average = session.average().unwrap();
    assert!(average != session.parameters().unwrap());
    let before = session.encode(rows().values()).unwrap();
    session.use_average().unwrap();
    assert!(session.parameters().unwrap() == average && session.average().unwrap() == average);
    let mut other = Session::new(&gpu(), &spec(), training(None)).unwrap();
    other.load(rows()).unwrap();
    other.set_parameters(&average).unwrap();
    let found = session.encode(rows().values()).unwrap();
    assert!(found == other.encode(rows().values()).unwrap() && found != before);
    take(&mut session, 1);
    plain.add(&session.parameters().unwrap().concat());
    plain.check(&session.average().unwrap().concat(), "after it was used");
}

#[test]
fn decays_that_are_none_are_refused() {
    for decay in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
        match training(Some(decay)).check() {
            Err(Error::Spec { field, .. }) => assert_eq!(field, "average"),
            other => panic!("{decay}: {other:?}"),
        }
        assert!(Session::new(&gpu(), &spec(), training(Some(decay))).is_err());
        let mut run = phases::run(true, false);
        run.phases[1].steps[1].updates[0].average = Some(decay);
        assert_eq!(phases::refused(run)[0], "phases[\"players\"].steps[\"model\"].updates[0].average");
    }
    let mut without = begun(&gpu(), training(None));
    match without.average() {
        Err(Error::Data { place, found, .. }) => assert_eq!((place.as_str(), found.as_str()), ("average", "none")),
        other => panic!("{other:?}"),
    }
    let before = without.parameters().unwrap();
    assert!(matches!(without.use_average(), Err(Error::Data { .. })));
    assert!(without.parameters().unwrap() == before);
}
