//! What runs over a spec know of their rows: the scaling of the input and who learns it, what is refused as a session would, and
//! what a file keeps of it.

use crate::common::{gpu, squared_error, values};
use safetensors::SafeTensors;
use strait::graph::Sink;
use strait::model::{Purpose, Supervised};
use strait::rbm::{Gibbs, Rbm};
use strait::train::{Run, Trainer};
use strait::{
    Activation, Corruption, Data, Error, Latent, Layer, Loss, Optimizer, Ramp, Result, Scaling, Session, Spec,
    Training, UpdateRamps,
};

const INPUT: usize = 6;
const ROWS: usize = 20;
const CLASSES: usize = 2;

fn spec() -> Spec {
    let spec = Spec::symmetric(&[INPUT, 4, 3], Activation::Elu).scaling(Scaling::Unit);
    Spec { supervised: Some(Supervised { classes: CLASSES, weight: 1.0 }), ..spec }
}

/// Rows between 0 and `most`, with labels.
fn data(most: f64) -> Data {
    let rows = Data::from_rows(INPUT, values(191, ROWS * INPUT, (0.0, most))).unwrap();
    rows.with_labels((0..ROWS).map(|row| (row % CLASSES) as u32).collect()).unwrap().labelled(CLASSES).unwrap()
}

fn training() -> Training {
    Training { epochs: 2, batch: 5, learning_rate: 0.01, seed: 2, ..Training::default() }
}

fn classifier(spec: &Spec) -> Trainer {
    Trainer::new(&gpu(), Run::classifier(spec, &["encoder"], &training()).unwrap()).unwrap()
}

fn pretrained(spec: &Spec, most: f64) -> Session {
    let mut session = Session::new(&gpu(), spec, training()).unwrap();
    session.fit(data(most)).unwrap();
    session
}

fn codes(trainer: &Trainer) -> Result<Vec<f32>> {
    trainer.model().unwrap().encode(&values(192, 3 * INPUT, (0.0, 1.0)))
}

/// A snapshot of a run over one spec is none of a run over another, or over none, and the error says where they differ. One that
/// does not say its spec, as those of older versions, is taken for the run's.
#[test]
fn files_are_of_a_run_over_their_spec() {
    let spec = |activation| Spec::symmetric(&[INPUT, 4, 2], activation);
    let greedy = |spec: &Spec| Run::greedy(spec, &training()).unwrap();
    let rows = Data::from_rows(INPUT, values(194, ROWS * INPUT, (0.0, 1.0))).unwrap();
    let own = spec(Activation::Sigmoid);
    let mut trainer = Trainer::new(&gpu(), greedy(&own)).unwrap();
    trainer.load(&rows).unwrap();
    trainer.step(2).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    let refused = |run: Run| match Trainer::restore(&gpu(), run, &snapshot) {
        Err(Error::Checkpoint { place, found, allowed, .. }) => [place, found, allowed],
        other => panic!("{other:?}"),
    };
    let other = greedy(&spec(Activation::Tanh));
    let wanted = ["strait.trainer: spec.decoder[0].activation", "\"sigmoid\"", "that of the run, \"tanh\""];
    assert_eq!(refused(other), wanted);
    let [place, ..] = refused(greedy(&own.clone().loss(Loss::Bernoulli)));
    assert!(place.starts_with("strait.trainer: spec.loss"), "{place}");
    let [place, ..] = refused(greedy(&own.clone().weight_decay(0.25)));
    assert!(place.starts_with("strait.trainer: spec."), "{place}");
    assert_eq!(refused(crate::phases::run(true, false))[0], "strait.trainer: spec");
    let mut expected = Trainer::restore(&gpu(), greedy(&own), &snapshot).unwrap();
    expected.fit(&rows).unwrap();
    // As an older version wrote it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old");
    snapshot.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let mut standing: serde_json::Value = serde_json::from_str(&metadata["strait.trainer"]).unwrap();
    assert!(standing.as_object_mut().unwrap().remove("spec").is_some());
    metadata.insert("strait.trainer".into(), standing.to_string());
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    std::fs::write(&path, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
    let mut old = Trainer::resume(&gpu(), greedy(&own), &path).unwrap();
    old.fit(&rows).unwrap();
    assert!(old.parameters().unwrap() == expected.parameters().unwrap());
}

/// The scaling goes with the layers, into a file before anything is loaded, and stays with rows of another range.
#[test]
fn scaling_comes_with_the_layers_and_stays() {
    let session = pretrained(&spec(), 4.0);
    let due = session.encode(&values(192, 3 * INPUT, (0.0, 1.0))).unwrap();
    let mut trainer = classifier(&spec());
    trainer.start_from(&session).unwrap();
    assert!(codes(&trainer).unwrap() == due);
    let snapshot = trainer.snapshot().unwrap();
    drop(trainer);
    let run = Run::classifier(&spec(), &["encoder"], &training()).unwrap();
    let mut again = Trainer::restore(&gpu(), run, &snapshot).unwrap();
    again.fit(data(0.5)).unwrap();
    assert!(codes(&again).unwrap() == due);
    // Also where the ends of values are known, too, and where rows were loaded before.
    let ends = Spec { corruption: Corruption::SaltAndPepper { probability: 0.1 }, ..spec() };
    let session = pretrained(&ends, 4.0);
    let due = session.encode(&values(192, 3 * INPUT, (0.0, 1.0))).unwrap();
    let mut trainer = classifier(&spec());
    trainer.fit(data(0.5)).unwrap();
    trainer.start_from(&session).unwrap();
    assert!(codes(&trainer).unwrap() == due);
    // What one corrupts by and the other does not know is not made up.
    let plain = pretrained(&spec(), 4.0);
    for known in [false, true] {
        let mut trainer = classifier(&ends);
        if known {
            trainer.fit(data(0.5)).unwrap();
        }
        let before = trainer.parameters().unwrap();
        assert_eq!(place(trainer.start_from(&plain)), "input.low");
        assert!(trainer.parameters().unwrap() == before);
    }
}

/// Which features are missing is each spec's own.
#[test]
fn missing_features_are_those_of_the_spec() {
    let missing = |first: bool| Corruption::Missing { keep: (0..INPUT).map(|i| (i == 0) != first).collect() };
    let of = |first| Spec { corruption: missing(first), ..spec() };
    let session = pretrained(&of(true), 1.0);
    let run = Run::of(&of(false), &[]).unwrap().then_fine_tune(&training()).unwrap();
    let mut trainer = Trainer::new(&gpu(), run).unwrap();
    trainer.start_from(&session).unwrap();
    let rows = values(193, INPUT, (0.25, 0.75));
    let corrupted = trainer.model().unwrap().corrupt(&rows, 1).unwrap();
    let low = session.reconstruct(&rows).unwrap();
    assert_eq!(low.len(), INPUT);
    // Kept features come back as they were, to rounding of the scaling; here that is the first one alone.
    let kept: Vec<bool> = rows.iter().zip(&corrupted).map(|(x, c)| (x - c).abs() < 1e-6).collect();
    let due: Vec<bool> = (0..INPUT).map(|i| i == 0).collect();
    assert_eq!(kept, due);
}

/// A load that is refused leaves nothing behind: the scaling is that of the rows that are trained on.
#[test]
fn a_refused_load_teaches_nothing() {
    let mut wrong = data(200.0).values().to_vec();
    wrong[INPUT] = 0.5;
    let mut trainer = classifier(&spec());
    match trainer.load(Data::from_rows(INPUT + CLASSES, wrong).unwrap()) {
        Err(Error::Data { place, .. }) => assert!(place.contains("label columns of row 0"), "{place}"),
        other => panic!("{other:?}"),
    }
    match codes(&trainer) {
        Err(Error::Data { found, .. }) => assert_eq!(found, "unknown"),
        other => panic!("{:?}", other.map(drop)),
    }
    trainer.fit(data(1.0)).unwrap();
    let mut other = classifier(&spec());
    other.fit(data(1.0)).unwrap();
    assert!(codes(&trainer).unwrap() == codes(&other).unwrap());
}

fn place<T>(result: Result<T>) -> String {
    match result.map(drop) {
        Err(Error::Data { place, .. }) => place,
        Err(Error::Spec { field, .. }) => field,
        Err(Error::Shape { op, .. }) => op,
        other => panic!("{other:?}"),
    }
}

/// Rows are those that a session of the same would take: of the pair's loss, without weights.
#[test]
fn rows_are_checked_as_a_session_does() {
    let deep = Spec { supervised: None, ..spec() }.scaling(Scaling::None);
    let mut pairs = deep.pairs().unwrap();
    pairs[0].loss = Loss::Bernoulli;
    let run = Run::greedy_by(&deep, &pairs, &training()).unwrap();
    let rows = |most: f64| Data::from_rows(INPUT, values(194, ROWS * INPUT, (0.0, most))).unwrap();
    let mut trainer = Trainer::new(&gpu(), run).unwrap();
    assert!(place(trainer.load(rows(16.0))).contains("row 0, column"));
    trainer.load(rows(1.0)).unwrap();
    let weighted = Data::from_rows(INPUT - 1, values(195, ROWS * (INPUT - 1), (0.0, 1.0))).unwrap();
    let weighted = strait::data::Weighted::new(weighted, vec![1.0; ROWS]).unwrap();
    let mut trainer = Trainer::new(&gpu(), Run::greedy(&deep, &training()).unwrap()).unwrap();
    let message = trainer.load(weighted).unwrap_err().to_string();
    assert!(message.contains("weight"), "{message}");
    let ring = strait::train::Ring::uniform(&gpu(), INPUT, 8).and_then(strait::train::Ring::weighted);
    let message = ring.and_then(|ring| trainer.load(ring)).unwrap_err().to_string();
    assert!(message.contains("weight"), "{message}");
}

/// What is known of the input alone is nothing that pairs of codes can have.
#[test]
fn pairs_of_codes_know_nothing_of_the_input() {
    let mut deep = Spec { supervised: None, ..spec() };
    deep.decoder[0].activation = Activation::Sigmoid;
    let refused = |i: usize, change: &dyn Fn(&mut Spec)| {
        let mut pairs = deep.pairs().unwrap();
        change(&mut pairs[i]);
        place(Run::greedy_by(&deep, &pairs, &training()))
    };
    assert_eq!(refused(0, &|pair| pair.scaling = Scaling::None), "pairs[0].scaling");
    assert_eq!(refused(1, &|pair| pair.scaling = Scaling::Unit), "pairs[1].scaling");
    let ends = Corruption::SaltAndPepper { probability: 0.1 };
    assert_eq!(refused(1, &|pair| pair.corruption = ends.clone()), "pairs[1].corruption");
    let missing = |count| Corruption::Missing { keep: vec![true; count] };
    assert_eq!(refused(1, &|pair| pair.corruption = missing(4)), "pairs[1].corruption");
    assert_eq!(refused(0, &|pair| pair.corruption = missing(INPUT)), "pairs[0].corruption");
    let bernoulli = |pair: &mut Spec| {
        pair.loss = Loss::Bernoulli;
        pair.decoder[0].activation = Activation::Identity;
    };
    assert_eq!(refused(1, &bernoulli), "pairs[1].loss");
    // Codes of sigmoids are probabilities.
    let mut sigmoid = deep.clone();
    sigmoid.encoder[0].activation = Activation::Sigmoid;
    let mut pairs = sigmoid.pairs().unwrap();
    bernoulli(&mut pairs[1]);
    Run::greedy_by(&sigmoid, &pairs, &training()).unwrap();
}

/// Frozen tensors of a run are what those of a model must be.
#[test]
fn a_scale_of_nothing_is_no_scale() {
    let mut trainer = classifier(&spec());
    let refused = trainer.set_constants(&[vec![0.0; INPUT], vec![-1.0; INPUT]]);
    assert_eq!(place(refused), "input.scale");
    trainer.set_constants(&[vec![0.0; INPUT], vec![0.0; INPUT]]).unwrap();
    // 0 is how a constant feature was once written: deviations from it count as they are.
    let scaled = codes(&trainer).unwrap();
    trainer.set_constants(&[vec![0.0; INPUT], vec![1.0; INPUT]]).unwrap();
    assert!(scaled == codes(&trainer).unwrap());
}

/// Rows of another width are no rows of a part, also where they would spread over the input.
#[test]
fn a_part_takes_rows_of_its_width() {
    let run = Run::of(&spec(), &[]).unwrap();
    let (part, mut g) = (run.part().unwrap(), run.graph());
    let narrow = g.gather(1, false);
    assert!(place(part.infer(&mut g, Purpose::Encode, narrow)).starts_with("Encode of"));
    let rows = g.gather(INPUT, false);
    let code = part.infer(&mut g, Purpose::Encode, rows).unwrap();
    assert!(place(part.infer(&mut g, Purpose::Decode, rows)).starts_with("Decode of"));
    g.sink(Sink::Output(0), code);
}

/// The spec's decay and that of AdamW, both with ramps, are two numbers.
#[test]
fn ramps_of_one_name_are_two() {
    let plain = Spec { supervised: None, ..spec() }.weight_decay(1e-3);
    let optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.5 };
    let rows = Data::from_rows(INPUT, values(196, ROWS * INPUT, (0.0, 1.0))).unwrap();
    let learned = |spec: &Spec, ramps: UpdateRamps| {
        let mut session = Session::new(&gpu(), spec, Training { optimizer, ramps, epochs: 10, ..training() }).unwrap();
        session.fit(&rows).unwrap();
        session.parameters().unwrap().concat()
    };
    let due = learned(&plain, UpdateRamps::default());
    let ramps = UpdateRamps { weight_decay: Some(Ramp::constant()), ..UpdateRamps::default() };
    let found = learned(&plain.clone().ramp("weight_decay", Ramp::constant()), ramps);
    assert!(squared_error(&found, &due) < 1e-9, "off by {:e}", squared_error(&found, &due));
}

/// What no device holds is refused before it is made.
#[test]
fn machines_that_nothing_holds_are_refused() {
    assert_eq!(place(Rbm::new(1 << 20, 1 << 20).initial(0)), "hidden (weights)");
    let gibbs = Gibbs::Persistent { steps: 1, chains: 1 << 20 };
    assert_eq!(place(Rbm { gibbs, ..Rbm::new(1 << 20, 2) }.initial(0)), "gibbs.chains (values)");
}

/// A pair has the layer that the deep spec has, or a run would train one thing and use another.
#[test]
fn pairs_are_layers_of_the_spec() {
    let deep = Spec { supervised: None, ..spec() };
    let refused = |i: usize, change: &dyn Fn(&mut Spec)| {
        let mut pairs = deep.pairs().unwrap();
        change(&mut pairs[i]);
        place(Run::greedy_by(&deep, &pairs, &training()))
    };
    let tanh = |pair: &mut Spec| pair.encoder[0].activation = Activation::Tanh;
    assert_eq!(refused(0, &tanh), "pairs[0].encoder[0].activation");
    assert_eq!(refused(1, &|pair| pair.decoder[0].activation = Activation::Relu), "pairs[1].decoder[0].activation");
    assert_eq!(refused(1, &|pair| pair.tied = true), "pairs[1].tied");
    assert_eq!(refused(0, &|pair| pair.unit_norm = true), "pairs[0].unit_norm");
}

/// What a pair has beside its layers is the deep spec's in its place, or it would be trained by one pair's rows and used on another's.
#[test]
fn pairs_have_no_tensors_of_others() {
    let deep = Spec::symmetric(&[INPUT, INPUT, INPUT], Activation::Elu);
    let sigma = Loss::Gaussian { sigma: 0.5, learned: true };
    let mixture = |components| Loss::Mixture { components };
    let by = |deep: &Spec, change: &dyn Fn(&mut [Spec])| {
        let mut pairs = deep.pairs().unwrap();
        change(&mut pairs);
        Run::greedy_by(deep, &pairs, &training())
    };
    let latent = |i: usize| move |pairs: &mut [Spec]| pairs[i].latent = Latent::Gaussian { beta: 0.1 };
    let loss = |i: usize, loss: &Loss| {
        let loss = loss.clone();
        move |pairs: &mut [Spec]| pairs[i].loss = loss.clone()
    };
    let classes = |i: usize| move |pairs: &mut [Spec]| pairs[i].supervised = spec().supervised;
    let (learned, mixed, drawn) = (
        deep.clone().loss(sigma.clone()),
        deep.clone().loss(mixture(2)),
        Spec { encoder: vec![Layer::new(INPUT); 2], ..deep.clone() }.variational(0.1),
    );
    // A σ, and what a mixture has, are the outermost pair's of a spec that has them.
    assert_eq!(place(by(&learned, &loss(1, &sigma))), "pairs[1].loss.gaussian.learned");
    assert_eq!(place(by(&deep, &loss(0, &sigma))), "pairs[0].loss.gaussian.learned");
    for (deep, i, own) in [(&mixed, 1, 1), (&mixed, 1, 2), (&mixed, 0, 3), (&deep, 0, 2)] {
        assert_eq!(place(by(deep, &loss(i, &mixture(own)))), format!("pairs[{i}].loss"));
    }
    assert_eq!(place(by(&mixed, &loss(0, &Loss::Mse))), "pairs[0].loss");
    // Variances are of the innermost pair's code.
    let outer = |pairs: &mut [Spec]| (pairs[0].latent, pairs[1].latent) = (pairs[1].latent, Latent::Deterministic);
    assert_eq!(place(by(&drawn, &outer)), "pairs[0].latent");
    assert_eq!(place(by(&drawn, &latent(0))), "pairs[0].latent");
    assert_eq!(place(by(&deep, &latent(1))), "pairs[1].latent");
    // A classifier is none's.
    let told = Spec { supervised: spec().supervised, ..deep.clone() };
    for i in 0..2 {
        assert_eq!(place(by(&told, &classes(i))), format!("pairs[{i}].supervised"));
    }
    // In their places they are trained, each by its own phase.
    let all = Spec { loss: sigma, ..drawn };
    let rows = || Data::from_rows(INPUT, values(198, ROWS * INPUT, (0.0, 1.0))).unwrap();
    let mut trainer = Trainer::new(&gpu(), by(&all, &|_| {}).unwrap()).unwrap();
    let model = trainer.model().unwrap();
    let read = |name: &str| model.parameter(name).unwrap();
    let names = ["decoder.log_sigma", "log_variance.weight"];
    for phase in 0..2 {
        let before = names.map(read);
        trainer.fit(rows()).unwrap();
        let changed: Vec<bool> = names.map(read).iter().zip(&before).map(|(now, before)| now != before).collect();
        assert_eq!(changed, [phase == 0, phase == 1]);
    }
    // Sparse codes have no tensors: any pair's may be so, where its decoder is linear.
    let linear = Spec::symmetric(&[INPUT, INPUT, INPUT], Activation::Identity).loss(Loss::SquaredError);
    let sparse = Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 3 };
    by(&linear, &|pairs| pairs.iter_mut().for_each(|pair| pair.latent = sparse)).unwrap();
    by(&mixed, &|_| {}).unwrap();
}

/// Codes that were computed before other tensors came are not trained on: rows are to be loaded again.
#[test]
fn cached_codes_go_with_their_tensors() {
    let plain = spec().scaling(Scaling::None);
    let session = pretrained(&plain, 1.0);
    let learned = |late: bool| {
        let mut trainer = classifier(&plain);
        if late {
            trainer.load(data(1.0)).unwrap();
        }
        trainer.start_from(&session).unwrap();
        if late {
            assert_eq!(place(trainer.step(1)), "training data");
        }
        trainer.fit(data(1.0)).unwrap();
        trainer.parameters().unwrap()
    };
    assert!(learned(true) == learned(false));
}

/// Rows that a frozen part is computed of are looked at, too.
#[test]
fn rows_beneath_cached_codes_are_numbers() {
    struct Bad(Data);
    impl strait::Source for Bad {
        fn rows(&self) -> usize {
            self.0.rows()
        }
        fn columns(&self) -> usize {
            self.0.columns()
        }
        fn read(&self, first: usize, out: &mut [f32]) -> Result<()> {
            strait::Source::read(&self.0, first, out)?;
            if first == 0 {
                out[INPUT + 2] = f32::INFINITY;
            }
            Ok(())
        }
        fn name(&self) -> &str {
            "bad"
        }
    }
    let deep = Spec { supervised: None, ..Spec::symmetric(&[INPUT, 4, 3], Activation::Sigmoid) };
    let rows = || Data::from_rows(INPUT, values(197, ROWS * INPUT, (0.0, 1.0))).unwrap();
    let mut trainer = Trainer::new(&gpu(), Run::greedy(&deep, &training()).unwrap()).unwrap();
    trainer.fit(rows()).unwrap();
    let bad: std::sync::Arc<dyn strait::Source> = std::sync::Arc::new(Bad(rows()));
    assert_eq!(place(trainer.load(bad)), "bad: row 1, column 2");
}
