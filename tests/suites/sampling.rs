//! Corruption on demand and chains: what is given back, and what is refused by name.

use crate::common::gpu;
use strait::analysis::Chain;
use strait::{Activation, Corruption, Data, Error, Loss, Scaling, Session, Spec, Training};

fn spec() -> Spec {
    Spec::symmetric(&[3, 2], Activation::Identity).loss(Loss::Gaussian { sigma: 0.5, learned: false })
}

fn session(spec: &Spec) -> Session {
    Session::new(&gpu(), spec, Training::default()).unwrap()
}

#[test]
fn corrupted_rows_are_in_the_units_of_the_input() {
    let rows: Vec<f32> = (0..3000).map(|i| 100.0 + (i % 7) as f32 * if i % 3 == 1 { 50.0 } else { 1.0 }).collect();
    let plain = session(&spec()).corrupt(&rows, 0).unwrap();
    assert_eq!(plain, rows, "a model without corruption changes nothing");
    let mut scaled = session(&spec().scaling(Scaling::Unit).gaussian_corruption(0.1));
    assert!(matches!(scaled.corrupt(&rows, 0), Err(Error::Data { .. })), "the scaling is not known yet");
    scaled.load(Data::from_rows(3, rows.clone()).unwrap()).unwrap();
    let found = scaled.corrupt(&rows, 0).unwrap();
    // Columns reach over 6, 300 and 6: so far does the noise.
    for (column, reach) in [(0, 6.0), (1, 300.0), (2, 6.0)] {
        let each = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        let pairs = found.iter().zip(&rows).skip(column).step_by(3);
        let deviation = (pairs.map(each).sum::<f64>() / 1000.0).sqrt();
        // Four standard errors of the deviation of a thousand draws.
        assert!((deviation / (0.1 * reach) - 1.0).abs() < 4.0 / 2000f64.sqrt(), "column {column}: {deviation}");
    }
    assert_eq!(found, scaled.corrupt(&rows, 0).unwrap());
    assert_ne!(found, scaled.corrupt(&rows, 1).unwrap());
}

#[test]
fn what_cannot_be_corrupted_is_refused() {
    let session = session(&spec().gaussian_corruption(0.1));
    for bad in [&[][..], &[1.0, 2.0], &[1.0, f32::NAN, 0.0]] {
        assert!(matches!(session.corrupt(bad, 0), Err(Error::Data { .. })), "{bad:?}");
    }
}

/// The ends that values are set to are learned with the scaling, but only what corrupts needs them.
#[test]
fn before_it_is_trained_a_model_lacks_only_what_it_uses() {
    let salted = |scaling| spec().corruption(Corruption::SaltAndPepper { probability: 0.5 }).scaling(scaling);
    let (rows, ends) = ([0.5, -1.0, 2.0, 1.0, 0.0, 3.0], "smallest and largest training value");
    let data = Data::from_rows(3, rows.to_vec()).unwrap();
    let place = |result: strait::Result<()>| match result {
        Err(Error::Data { place, allowed, .. }) => {
            assert!(allowed.contains("call fit or load first"), "{allowed}");
            place
        }
        other => panic!("{other:?}"),
    };
    let (mut clean, mut fresh) = (session(&spec()), session(&salted(Scaling::None)));
    assert_eq!(fresh.encode(&rows).unwrap(), clean.encode(&rows).unwrap());
    assert_eq!(fresh.decode(&rows[..4]).unwrap(), clean.decode(&rows[..4]).unwrap());
    assert_eq!(fresh.reconstruct(&rows).unwrap(), clean.reconstruct(&rows).unwrap());
    assert_eq!(fresh.score(&rows).unwrap(), clean.score(&rows).unwrap());
    assert_eq!(fresh.evaluate(&data).unwrap(), clean.evaluate(&data).unwrap());
    assert!(place(fresh.corrupt(&rows, 0).map(drop)).starts_with(ends));
    assert!(place(fresh.sampler(Chain::Alternating, &rows, 0).map(drop)).starts_with(ends));
    fresh.load(&data).unwrap();
    let corrupted = fresh.corrupt(&rows, 0).unwrap();
    assert!(corrupted.iter().zip(rows).all(|(&c, v)| c == v || c == -1.0 || c == 3.0), "{corrupted:?}");
    assert!(fresh.sampler(Chain::Alternating, &rows, 0).is_ok());
    // Where the input is scaled, nothing can be said of it before.
    let mut scaled = session(&salted(Scaling::Unit));
    assert_eq!(place(scaled.encode(&rows).map(drop)), "input scaling");
    assert_eq!(place(scaled.evaluate(&data).map(drop)), "input scaling");
    assert_eq!(place(scaled.corrupt(&rows, 0).map(drop)), "input scaling");
}

#[test]
fn chains_are_refused_by_name() {
    let masking = Corruption::Masking { probability: 0.1, rescale: false };
    let langevin = |length| Chain::Langevin { length };
    let cases = [
        (spec(), Chain::Alternating, "corruption"),
        (spec().gaussian_corruption(0.0), Chain::Alternating, "corruption"),
        (spec().gaussian_corruption(0.1).loss(Loss::Mse), Chain::Alternating, "loss"),
        (spec(), langevin(0.1), "corruption"),
        (spec().corruption(masking), langevin(0.1), "corruption"),
        (spec().gaussian_corruption(0.0), langevin(0.1), "corruption.sigma"),
        // Its square is 0 in f32.
        (spec().gaussian_corruption(1e-25), langevin(0.1), "length (over twice sigma squared)"),
        (spec().gaussian_corruption(0.1), langevin(0.0), "length"),
        (spec().gaussian_corruption(0.1), langevin(f64::NAN), "length"),
    ];
    for (spec, chain, wanted) in cases {
        match session(&spec).sampler(chain, &[0.0; 6], 0) {
            Err(Error::Spec { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{chain:?}, {wanted}: {other:?}"),
        }
    }
    let noisy = session(&spec().gaussian_corruption(0.1));
    for bad in [&[][..], &[1.0], &[f32::INFINITY, 0.0, 0.0]] {
        assert!(matches!(noisy.sampler(Chain::Alternating, bad, 0), Err(Error::Data { .. })), "{bad:?}");
    }
}

#[test]
fn chains_are_a_function_of_their_seed_and_go_on_where_they_are() {
    let session = session(&spec().gaussian_corruption(0.3));
    let walk = |seed: u64, parts: &[u64]| {
        let mut chains = session.sampler(Chain::Alternating, &[0.5; 30], seed).unwrap();
        parts.iter().for_each(|&steps| chains.advance(steps).unwrap());
        chains.rows().unwrap()
    };
    assert_eq!(walk(3, &[70]), walk(3, &[1, 0, 69]));
    assert_ne!(walk(3, &[70]), walk(4, &[70]));
    assert_ne!(walk(3, &[70]), walk(3, &[71]));
}
