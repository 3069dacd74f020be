//! What the scores are: those of runs by hand, to the bit where nothing has a ramp; one set of kernels for all; tables as text.

use super::*;
use crate::common::own_gpu;
use strait::data::{Shuffled, Weighted};
use strait::internals::plan::AdapterKind;
use strait::model::Supervised;
use strait::search::{Candidate, Entry, Table};
use strait::{Corruption, Loss, Optimizer, Penalty, Session};

/// The score of a candidate on a fold by hand: of the term, or of the whole objective.
fn by_hand(candidate: &Candidate, fold: usize, Fold { train, held }: &Fold, data: &Data, term: Option<&str>) -> f64 {
    let seed = candidate.training.seed + fold as u64;
    let mut session = Session::new(&gpu(), &candidate.spec, Training { seed, ..candidate.training }).unwrap();
    session.fit(data.select(train).unwrap()).unwrap();
    let found = session.evaluate(data.select(held).unwrap()).unwrap();
    term.map_or(found.loss, |term| found.terms.iter().find(|(name, _)| name == term).unwrap().1)
}

/// Checks every score of a table against a run by hand; `exact` asks for bits on a software adapter.
fn check(table: &Table, folds: &[Fold], data: &Data, term: Option<&str>, exact: bool) {
    let exact = exact && gpu().kind() == AdapterKind::Software;
    for Entry { candidate, scores, values, .. } in table.entries() {
        assert_eq!(scores.len(), folds.len());
        for (at, (fold, &found)) in folds.iter().zip(scores).enumerate() {
            let expected = by_hand(candidate, at, fold, data, term);
            let tolerance = if exact { 0.0 } else { 1e-5 * expected.abs() };
            assert!((found - expected).abs() <= tolerance, "{values:?}, fold {at}: {found}, not {expected}");
        }
    }
}

#[test]
fn scores_are_those_of_runs_by_hand() {
    let data = rows(31);
    // A learning rate is no constant of a kernel, so nothing is done about it.
    let rates = Search::new(tiny(), training()).axis("rate", [1e-3, 1e-2], |c, rate| c.training.learning_rate = rate);
    let rates = rates.folds(3).seed(8);
    let table = rates.run(&gpu(), &data).unwrap();
    check(&table, &rates.folds_of(31).unwrap(), &data, Some("reconstruction"), true);
    assert!(rates.run(&gpu(), &data).unwrap() == table, "the same seed gives the same table");
    // Coefficients and numbers of the optimizer, some 0, by a term and by the whole objective.
    let base = Spec { weight_decay: 1e-3, ..tiny().gaussian_corruption(0.1) };
    let base = base.penalty(Penalty::L1 { weight: 0.1, layer: None });
    let momentum = |momentum| Optimizer::Sgd { momentum, nesterov: false };
    let varied = || {
        Search::new(base.clone(), training())
            .axis("decay", [0.0, 0.3], |c, decay| c.spec.weight_decay = decay)
            .axis("l1 weight", [0.0, 0.7], |c, weight| c.spec.penalties[0] = Penalty::L1 { weight, layer: None })
            .axis("noise", [0.05, 0.2], |c, sigma| c.spec.corruption = Corruption::Gaussian { sigma })
            .axis("momentum", [0.0, 0.9], move |c, mu| c.training.optimizer = momentum(mu))
            .hold_out(0.4)
    };
    let split = varied().folds_of(31).unwrap();
    for (search, term) in [(varied().term("l1"), Some("l1")), (varied().loss(), None)] {
        check(&search.run(&gpu(), &data).unwrap(), &split, &data, term, false);
    }
    // Norms to clip by, and shares of Adam's moments.
    let adam = |beta1| Optimizer::Adam { beta1, beta2: 0.99, epsilon: 1e-7 };
    let clipped = Search::new(tiny(), training())
        .axis("clip", [0.01, 1.0], |c, norm| c.training.clip_norm = Some(norm))
        .axis("beta1", [0.5, 0.9], move |c, beta1| c.training.optimizer = adam(beta1))
        .hold_out(0.3);
    let split = clipped.folds_of(31).unwrap();
    check(&clipped.run(&gpu(), &data).unwrap(), &split, &data, Some("reconstruction"), false);
}

/// Scores of the caller's own see the trained session and the rows: here the squared error, from reconstructions.
#[test]
fn scores_of_the_callers_own() {
    let data = rows(31);
    let of_rows = data.clone();
    let own = search().score("mean square", move |session, fold| {
        let held = of_rows.select(&fold.held)?;
        let found = session.reconstruct(held.values())?;
        let squares = found.iter().zip(held.values()).map(|(r, x)| f64::from(r - x).powi(2));
        Ok(squares.sum::<f64>() / found.len() as f64)
    });
    let [own, term] = [own, search()].map(|search| search.run(&gpu(), &data).unwrap());
    for (own, term) in own.entries().iter().zip(term.entries()) {
        let close = |(a, b): (&f64, &f64)| (a / b - 1.0).abs() < 1e-5;
        assert!(own.scores.iter().zip(&term.scores).all(close), "{own:?}, {term:?}");
    }
    assert!(own.csv().starts_with("candidate,rung,epochs,learning_rate,weight_decay,mean square,deviation,fold 0,"));
}

/// Rows from anywhere: in a drawn order, with labels, with weights, which count in training alone.
#[test]
fn rows_of_any_source() {
    let data = rows(31);
    let rates =
        || Search::new(tiny(), training()).axis("rate", [1e-2], |c, rate| c.training.learning_rate = rate).folds(2);
    let shuffled = Shuffled::new(&data, 5).unwrap();
    let mut out = vec![0.0; 93];
    strait::Source::read(&shuffled, 0, &mut out).unwrap();
    let apart = Data::from_rows(3, out).unwrap();
    assert!(rates().run(&gpu(), shuffled).unwrap() == rates().run(&gpu(), apart).unwrap());

    let classes = data.clone().with_labels((0..31).map(|row| row % 2).collect()).unwrap().labelled(2).unwrap();
    let supervised = Spec { supervised: Some(Supervised { classes: 2, weight: 0.5 }), ..tiny() };
    let search = Search::new(supervised, training())
        .axis("weight", [0.5, 1.5], |c, weight| {
            c.spec.supervised.iter_mut().for_each(|supervised| supervised.weight = weight);
        })
        .folds(2)
        .term("supervised");
    let table = search.run(&gpu(), &classes).unwrap();
    check(&table, &search.folds_of(31).unwrap(), &classes, Some("supervised"), false);

    let weights: Vec<f32> = (0..31).map(|row| (row % 3) as f32).collect();
    let table = rates().run(&gpu(), Weighted::new(&data, weights.clone()).unwrap()).unwrap();
    for (at, Fold { train, held }) in rates().folds_of(31).unwrap().into_iter().enumerate() {
        let of = |rows: &[usize]| rows.iter().map(|&row| weights[row]).collect::<Vec<_>>();
        let training = Training { seed: at as u64, ..training() };
        let mut session = Session::new(&gpu(), &tiny(), training).unwrap();
        session.fit(Weighted::new(data.select(&train).unwrap(), of(&train)).unwrap()).unwrap();
        let found = session.evaluate(data.select(&held).unwrap()).unwrap().loss;
        let score = table.entries()[0].scores[at];
        assert!((score / found - 1.0).abs() < 1e-5, "{score}, not {found}");
    }
}

/// 64 candidates that differ in whatever may have a ramp compile what the first of them does, training and evaluation alike.
#[test]
fn one_shape_has_one_set_of_kernels() {
    let gpu = own_gpu();
    let base = tiny().loss(Loss::Gaussian { sigma: 0.5, learned: false }).gaussian_corruption(0.1);
    let base = base.penalty(Penalty::StudentT { weight: 0.1, nu: 2.0, layer: None });
    let search = Search::new(base, Training { clip_norm: Some(1.0), ..training() })
        .axis("rate", Values::log_uniform(1e-4, 1e-2), |c, rate| c.training.learning_rate = rate)
        .axis("decay", Values::log_uniform(1e-6, 1e-2), |c, decay| c.spec.weight_decay = decay)
        .axis("noise", Values::uniform(0.1, 0.5), |c, sigma| c.spec.corruption = Corruption::Gaussian { sigma })
        .axis("nu", Values::uniform(0.5, 4.0), |c, nu| {
            c.spec.penalties[0] = Penalty::StudentT { weight: nu / 10.0, nu, layer: None };
        })
        .axis("sigma", Values::uniform(0.5, 2.0), |c, sigma| c.spec.loss = Loss::Gaussian { sigma, learned: false })
        .axis("clip", Values::uniform(0.5, 2.0), |c, norm| c.training.clip_norm = Some(norm))
        .axis("beta", Values::uniform(0.5, 0.99), |c, beta1| {
            c.training.optimizer = Optimizer::AdamW { beta1, beta2: beta1, epsilon: 1e-8 * beta1, weight_decay: beta1 };
        })
        .random(64)
        .folds(2)
        .loss();
    let mut first = None;
    let table = search.run_with(&gpu, rows(20), |report| {
        if report.done == 1 && report.training.is_none() {
            first = Some(gpu.kernels());
        }
        std::ops::ControlFlow::Continue(())
    });
    let table = table.unwrap();
    assert!(table.entries().iter().all(|entry| entry.score().is_some()), "{table}");
    assert!(first.is_some_and(|first| first > 0));
    assert_eq!(gpu.kernels(), first.unwrap());
}

/// A candidate that cannot be trained says why, and the others still run.
#[test]
fn what_goes_wrong_is_in_the_table() {
    let search = Search::new(tiny(), Training { optimizer: Optimizer::SGD, ..training() })
        .axis("decay", [1e-3, -1.0], |c, decay| c.spec.weight_decay = decay)
        .axis("rate", [1e-2, 1e30, 0.0], |c, rate| c.training.learning_rate = rate)
        .folds(2);
    let table = search.run(&gpu(), rows(20)).unwrap();
    let [good, diverged, still, ..] = table.entries() else { panic!("six entries") };
    assert!(good.score().is_some() && good.error.is_none());
    let error = diverged.error.as_deref().unwrap();
    assert!(error.starts_with("fold 0: step ") && error.contains("is not finite; training stopped there"), "{error}");
    assert_eq!(
        still.error.as_deref().unwrap(),
        "learning_rate is 0; allowed: a number above 0 in the normal range of f32"
    );
    for entry in &table.entries()[3..] {
        assert_eq!(entry.error.as_deref().unwrap(), "weight_decay is -1; allowed: a finite number, 0 or more, in f32");
    }
    for entry in &table.entries()[1..] {
        assert_eq!((entry.scores.len(), entry.score(), entry.deviation()), (0, None, None));
    }
    assert!(table.is_whole());
    assert_eq!(table.best().unwrap().number, 0);
    let text = table.to_string();
    assert_eq!(text.lines().count(), 7);
    assert!(text.lines().nth(1).unwrap().ends_with("best"), "{text}");
    assert!(text.contains("weight_decay is -1"), "{text}");
    // Terms that there are none of, and scores that are no number.
    let missing = super::search().term("kl").run(&gpu(), rows(20)).unwrap();
    for entry in missing.entries() {
        assert_eq!(entry.error.as_deref().unwrap(), "term is \"kl\"; allowed: reconstruction, weight_decay");
    }
    assert!(missing.best().is_none());
    let nothing = super::search().score("hope", |_, _| Ok(f64::NAN)).run(&gpu(), rows(20)).unwrap();
    for entry in nothing.entries() {
        assert_eq!(entry.error.as_deref().unwrap(), "fold 0: score \"hope\" is NaN; allowed: a finite number");
    }
}

/// Means and deviations by hand, and the whole text of a small table.
#[test]
fn tables_as_text() {
    let search = Search::new(tiny(), Training { epochs: 1, ..training() })
        .choice("kind, \"quoted\"", [("a,b", 1.0), ("c", 2.5)], |c, rate| c.training.learning_rate = rate * 1e-3)
        .folds(3)
        .score("made", |session, fold| {
            Ok(session.training().learning_rate * 1e3
                + session.training().seed as f64 * 3.0 * f64::from(fold.held.len() == 4))
        });
    let table = search.run(&gpu(), rows(12)).unwrap();
    let [first, second] = table.entries() else { panic!("two entries") };
    // 1, 4, 7 and 2.5, 5.5, 8.5, whose squared deviations add up to 18.
    assert_eq!(
        (first.scores.as_slice(), second.scores.as_slice()),
        ([1.0, 4.0, 7.0].as_slice(), [2.5, 5.5, 8.5].as_slice())
    );
    assert_eq!((first.score(), first.deviation()), (Some(4.0), Some(3.0)));
    let csv = "candidate,rung,epochs,\"kind, \"\"quoted\"\"\",made,deviation,fold 0,fold 1,fold 2,error\n\
               0,0,1,\"a,b\",4,3,1,4,7,\n1,0,1,c,5.5,3,2.5,5.5,8.5,\n";
    assert_eq!(table.csv(), csv);
    let text = "candidate  epochs  kind, \"quoted\"  made  deviation\n        0       1             a,b     4          3  best\n\
                \x20       1       1               c   5.5          3\n";
    assert_eq!(table.to_string(), text);
}
