//! Runs that go bad: they end with the step and the term, and with the last good parameters.

use super::*;
use strait::{Error, Penalty};

/// The error that a run ends with.
fn end(mut session: Session, data: &Data) -> (Session, u64, String) {
    match session.fit(data) {
        Err(Error::Diverged { step, term }) => (session, step, term),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_term_that_overflows_leaves_the_parameters_before_its_step() {
    let training = Training { batch: 4, learning_rate: 1e17, optimizer: Optimizer::SGD, ..Training::default() };
    let (found, step, term) = end(session(&gpu(), &tiny(), training), &rows(23));
    assert_eq!(term, "reconstruction");
    assert!(step >= 1, "the first step is finite");
    let mut good = session(&gpu(), &tiny(), training);
    good.load(rows(23)).unwrap();
    take(&mut good, step, 1);
    assert_eq!(bits(&found), bits(&good));
    assert!(found.parameters().unwrap().concat().iter().all(|v| v.is_finite()));
    assert_eq!(found.steps(), step);
}

#[test]
fn the_term_is_the_one_that_went_bad() {
    let training = Training { batch: 4, ..Training::default() };
    let mut session = session(&gpu(), &tiny().weight_decay(1.0), training);
    let large: Vec<Vec<f32>> = session.parameters().unwrap().iter().map(|p| vec![1e20; p.len()]).collect();
    // The squares of the weights overflow; so does the reconstruction, unless its weights are none.
    let mut some = large.clone();
    let last = some.len() - 2;
    some[last].fill(0.0);
    some[last + 1].fill(0.0);
    session.set_parameters(&some).unwrap();
    let (found, step, term) = end(session, &rows(23));
    assert_eq!((step, term.as_str()), (0, "weight_decay"));
    assert_eq!(found.parameters().unwrap(), some);
}

/// Encoder weights that make one term overflow, of a decoder that reads nothing of the code: all others stay finite.
#[test]
fn a_penalty_that_goes_bad_is_named() {
    let spec = Spec::symmetric(&[3, 2], Activation::Identity).loss(strait::Loss::SquaredError);
    let student = Penalty::StudentT { weight: 0.1, nu: 1.0, layer: None };
    let squared = Penalty::SquaredSparsity { weight: 0.1, rho: 0.1, layer: None };
    let contractive = Penalty::Contractive { weight: 0.1, of: Default::default(), method: Default::default() };
    let l1 = Penalty::L1 { weight: 1e10, layer: None };
    // log_variance.bias follows the encoder's tensors; exp(100) is beyond f32, exp(50) and mu² are not.
    let cases = [
        ("kl", spec.clone().variational(1.0), 3, 100.0),
        ("student_t", spec.clone().penalty(student), 1, 1e20),
        ("squared_sparsity", spec.clone().penalty(squared), 1, 1e20),
        ("contractive", spec.clone().penalty(contractive), 0, 1e20),
        ("l1", spec.penalty(l1), 1, 1e30),
    ];
    for (wanted, spec, at, value) in cases {
        let mut session = session(&gpu(), &spec, Training { batch: 4, ..Training::default() });
        let mut params: Vec<Vec<f32>> = session.parameters().unwrap().iter().map(|p| vec![0.0; p.len()]).collect();
        params[at].fill(value);
        session.set_parameters(&params).unwrap();
        let (found, step, term) = end(session, &rows(23));
        assert_eq!((step, term.as_str()), (0, wanted));
        assert_eq!(found.parameters().unwrap(), params, "{wanted}: the last good parameters are kept");
    }
}

#[test]
fn a_bad_chunk_stops_the_chunks_behind_it() {
    // Rows 4 to 7 are the second step, the last one of the first chunk.
    let mut values = rows(16).values().to_vec();
    values[5 * 3] = 1e25;
    let data = Data::from_rows(3, values).unwrap();
    let training =
        Training { batch: 4, shuffle: false, data_budget: 8 * 12, optimizer: MOMENTUM, ..Training::default() };
    let mut found = session(&gpu(), &tiny(), training);
    found.load(&data).unwrap();
    // Both chunks are submitted before the first report is looked at.
    assert_eq!([found.step(9).unwrap().steps(), found.step(9).unwrap().steps()], [2, 2]);
    found.gpu().wait().unwrap();
    let error = found.progress().unwrap_err();
    assert!(matches!(&error, Error::Diverged { step: 1, term } if term == "reconstruction"), "{error}");
    let mut good = session(&gpu(), &tiny(), training);
    good.load(&data).unwrap();
    take(&mut good, 1, 1);
    assert_eq!(bits(&found), bits(&good));
}

#[test]
fn an_update_that_overflows_is_told_from_a_bad_gradient() {
    let training = Training { batch: 4, learning_rate: 3e38, optimizer: Optimizer::SGD, ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    let spread: Vec<f32> = rows(8).values().iter().map(|v| v * 100.0).collect();
    let error = session.fit(Data::from_rows(3, spread).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Diverged { step: 0, term } if term == "update"), "{error}");
    assert!(session.parameters().unwrap().concat().iter().all(|v| v.is_finite()));
    assert_eq!(session.steps(), 1, "a step taken in part is not taken again");
    let place = tempfile::tempdir().unwrap();
    let refused = session.checkpoint(place.path().join("torn")).unwrap_err();
    assert!(matches!(refused, Error::Diverged { step: 0, .. }), "{refused}");
}

/// A linear network whose code is next to nothing and whose decoder is large. Where a value is 1.5e19 the loss is still
/// finite, and so are the decoder's gradients, but a weight's of the encoder is not. Rows 8 to 11 are the third step.
fn overflowing() -> (Spec, Training, Vec<Vec<f32>>, Data) {
    let mut values = rows(24).values().to_vec();
    values[9 * 3] = 1.5e19;
    let training =
        Training { batch: 4, shuffle: false, learning_rate: 1e-9, optimizer: MOMENTUM, ..Training::default() };
    let params = vec![vec![0.0; 6], vec![0.0; 2], vec![1e3; 6], vec![0.0; 3]];
    (Spec::symmetric(&[3, 2], Activation::Identity), training, params, Data::from_rows(3, values).unwrap())
}

/// The tensors that a checkpoint holds.
fn kept(session: &Session) -> std::collections::BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    session.checkpoint(folder.path().join("all")).unwrap();
    let bytes = std::fs::read(folder.path().join("all")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

#[test]
fn a_gradient_that_is_not_finite_updates_nothing_at_all() {
    let (spec, training, params, data) = overflowing();
    for clip_norm in [None, Some(1.0)] {
        let training = Training { clip_norm, ..training };
        let mut good = session(&gpu(), &spec, training);
        good.set_parameters(&params).unwrap();
        good.load(&data).unwrap();
        take(&mut good, 2, 1);
        let expected = kept(&good);
        assert!(expected.keys().any(|name| name.starts_with("optimizer.first")), "a moment was at stake");
        let mut start = session(&gpu(), &spec, training);
        start.set_parameters(&params).unwrap();
        let (mut found, step, term) = end(start, &data);
        assert_eq!((step, term.as_str(), found.steps()), (2, "gradient", 2));
        assert!(kept(&found) == expected);
        // Gone on with it comes to the same step, and nothing has moved.
        let again = found.fit(&data).unwrap_err();
        assert!(matches!(&again, Error::Diverged { step: 2, term } if term == "gradient"), "{again}");
        assert!(kept(&found) == expected);
    }
}

#[test]
fn a_checkpoint_behind_a_bad_step_holds_the_state_before_it() {
    let (spec, training, params, data) = overflowing();
    let mut found = session(&gpu(), &spec, training);
    found.set_parameters(&params).unwrap();
    found.load(&data).unwrap();
    assert_eq!(found.step(2).unwrap().steps(), 2);
    let expected = kept(&found);
    // The third step goes bad; nobody has looked yet.
    assert_eq!(found.step(3).unwrap().steps(), 3);
    let folder = tempfile::tempdir().unwrap();
    found.checkpoint(folder.path().join("unread")).unwrap();
    let resumed = Session::resume(&gpu(), folder.path().join("unread")).unwrap();
    assert_eq!(resumed.steps(), 2);
    assert!(kept(&resumed) == expected);
}

#[test]
fn loading_other_data_tells_of_a_bad_step_that_nobody_has_read() {
    let (spec, training, params, data) = overflowing();
    let mut found = session(&gpu(), &spec, training);
    found.set_parameters(&params).unwrap();
    found.load(&data).unwrap();
    assert_eq!(found.step(5).unwrap().steps(), 5);
    let told = found.load(rows(24)).unwrap_err();
    assert!(matches!(&told, Error::Diverged { step: 2, term } if term == "gradient"), "{told}");
    assert_eq!(found.steps(), 2);
    // Told once, it goes on, with rows that are fine.
    found.load(rows(24)).unwrap();
    take(&mut found, 4, 2);
    assert_eq!(found.steps(), 6);
}

#[test]
fn a_session_can_go_on_after_it() {
    let training = Training { batch: 4, learning_rate: 1e17, optimizer: Optimizer::SGD, ..Training::default() };
    let fresh = session(&gpu(), &tiny(), training);
    let start = fresh.parameters().unwrap();
    let (mut session, ..) = end(fresh, &rows(23));
    assert!(matches!(session.step(1), Err(Error::Data { .. })), "the data has to be loaded again");
    session.set_parameters(&start).unwrap();
    session.load(rows(23)).unwrap();
    let losses = take(&mut session, 1, 1);
    assert!(losses[0].is_finite(), "{losses:?}");
}
