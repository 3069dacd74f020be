//! Which candidates and folds there are: grids, draws, rungs and splits, against plain code.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::*;
use strait::search::Table;

/// The table of a search before anything is trained but the first of its candidates.
fn judged_by(search: Search, score: impl Fn(&Spec, &Training) -> f64 + Send + Sync + 'static) -> Table {
    let search = search.score("made", move |session, _| Ok(score(session.spec(), session.training())));
    search.run(&gpu(), rows(12)).unwrap()
}

fn tried(table: &Table) -> Vec<Vec<&str>> {
    table.entries().iter().map(|entry| entry.values.iter().map(String::as_str).collect()).collect()
}

#[test]
fn folds_are_disjoint_and_whole() {
    for (count, folds) in [(2, 2), (7, 3), (40, 5), (41, 5), (1797, 10), (13, 13)] {
        let search = search().folds(folds).seed(3);
        let all = search.folds_of(count).unwrap();
        assert_eq!(all.len(), folds);
        let mut held: Vec<usize> = all.iter().flat_map(|fold| fold.held.clone()).collect();
        held.sort_unstable();
        assert!(held.iter().copied().eq(0..count), "each of {count} rows is held out once");
        for Fold { train, held } in &all {
            assert!(held.len() == count / folds || held.len() == count / folds + 1, "{} of {count}", held.len());
            let both: BTreeSet<usize> = train.iter().chain(held).copied().collect();
            assert!(both.len() == count && train.len() + held.len() == count);
            assert!(train.is_sorted() && held.is_sorted());
        }
        assert!(all == search.folds_of(count).unwrap());
        let other = search.seed(4).folds_of(count).unwrap();
        assert!(count < 7 || all != other, "{count} rows are drawn");
    }
    // Drawn, not cut: a third of 600 rows is spread over all of them.
    let held = &search().folds_of(600).unwrap()[0].held;
    for part in 0..6 {
        let of = held.iter().filter(|&&row| row / 100 == part).count();
        assert!((15..=55).contains(&of), "{of} of 100 rows");
    }
    let [split] = &search().hold_out(0.25).folds_of(40).unwrap()[..] else { panic!("one split") };
    assert_eq!([split.train.len(), split.held.len()], [30, 10]);
    assert_eq!(search().hold_out(1e-9).folds_of(40).unwrap()[0].held.len(), 1);
    let own = vec![Fold { train: vec![2, 0, 0], held: vec![1] }];
    assert_eq!(search().splits(own.clone()).folds_of(3).unwrap(), own);
}

/// Every combination, the last axis fastest; values arrive where they are put.
#[test]
fn a_grid_is_every_combination() {
    let search = Search::new(tiny(), training())
        .axis("rate", [0.5, 1e-3], |c, rate| c.training.learning_rate = rate)
        .choice("activation", [("bent", Activation::Elu), ("straight", Activation::Identity)], |c, activation| {
            c.spec.encoder[0].activation = *activation;
        })
        .axis("units", vec![5.0, 6.0, 7.0], |c, units| {
            (c.spec.encoder[0].units, c.spec.decoder[0].units) = (units as usize, units as usize);
        })
        .hold_out(0.5);
    let table = judged_by(search, |spec, training| {
        training.learning_rate
            + spec.encoder[0].units as f64
            + 100.0 * f64::from(spec.encoder[0].activation == Activation::Elu)
    });
    let mut expected = vec![];
    for rate in ["0.5", "0.001"] {
        for activation in ["bent", "straight"] {
            expected.extend(["5", "6", "7"].map(|units| vec![rate, activation, units]));
        }
    }
    assert_eq!(tried(&table), expected);
    assert_eq!(table.axes(), ["rate", "activation", "units"]);
    for (at, entry) in table.entries().iter().enumerate() {
        let [rate, activation, units] = &entry.values[..] else { panic!("three values") };
        let [rate, units]: [f64; 2] = [rate, units].map(|text| text.parse().unwrap());
        assert_eq!(entry.score().unwrap(), rate + units + if activation == "bent" { 100.0 } else { 0.0 });
        assert_eq!((entry.number, entry.rung), (at, 0));
        assert_eq!(entry.candidate.spec.decoder[0].units, units as usize);
        assert!(entry.candidate.spec.ramps.is_empty() && entry.candidate.training.ramps == Training::default().ramps);
    }
    assert!(table.is_whole());
    assert_eq!(table.best().unwrap().number, 9, "rate .001, straight, 5 units");
}

/// Draws by their formula, from the generator that the suite `random` checks against values from outside.
#[test]
fn draws_are_of_their_ranges() {
    let drawn = |count: usize, seed: u64| {
        let nothing = |_: &mut strait::search::Candidate, _: f64| {};
        let search = Search::new(tiny(), Training { epochs: 0, ..training() })
            .axis("uniform", Values::uniform(-2.0, 6.0), nothing)
            .axis("logarithm", Values::log_uniform(1e-6, 1e2), nothing)
            .axis("list", [3.0, 5.0, 9.0], nothing)
            .choice("choice", [("a", 0), ("b", 1)], |_, _| {})
            .random(count)
            .seed(seed)
            .hold_out(0.5);
        let table = judged_by(search, |_, _| 0.0);
        tried(&table).into_iter().map(|values| values.into_iter().map(String::from).collect()).collect::<Vec<Vec<_>>>()
    };
    let all = drawn(300, 5);
    assert!(all[..40] == drawn(40, 5), "more candidates leave the first as they are");
    assert!(all[..40] != drawn(40, 6));
    for (i, values) in all.iter().enumerate() {
        let u = |axis: u32| strait::Draw { seed: 5, stream: 0xd000_0000 + axis, step: 0 }.uniform(i, 0);
        let number = |at: usize| values[at].parse::<f64>().unwrap();
        assert!((number(0) - (-2.0 + 8.0 * u(0))).abs() < 1e-14);
        assert!((number(1).log10() - (-6.0 + 8.0 * u(1))).abs() < 1e-12);
        assert_eq!(number(2), [3.0, 5.0, 9.0][(3.0 * u(2)) as usize]);
        assert_eq!(values[3], if u(3) < 0.5 { "a" } else { "b" });
    }
    // Three deviations of a mean of 300 uniform draws are .05.
    let mean = |of: &dyn Fn(&Vec<String>) -> f64| all.iter().map(of).sum::<f64>() / 300.0;
    let uniform = mean(&|values| (values[0].parse::<f64>().unwrap() + 2.0) / 8.0);
    let logarithm = mean(&|values| (values[1].parse::<f64>().unwrap().log10() + 6.0) / 8.0);
    assert!((uniform - 0.5).abs() < 0.05 && (logarithm - 0.5).abs() < 0.05, "{uniform}, {logarithm}");
}

/// Nine candidates for one epoch, the best three for three, the best for nine, each trained from its beginning.
#[test]
fn halving_leaves_the_best() {
    let wanted = [4.0, 8.0, 1.0, 7.0, 2.0, 9.0, 3.0, 6.0, 5.0];
    let of = |epochs: u64, ratio: usize, values: Vec<f64>| {
        let search = Search::new(tiny(), Training { epochs, ..training() })
            .axis("rate", values, |c, rate| c.training.learning_rate = rate * 1e-4)
            .halving(ratio)
            .folds(2);
        // The order is another where there are more epochs.
        judged_by(search, |_, training| {
            let rate = training.learning_rate * 1e4;
            if training.epochs >= 3 { (rate - 2.0).abs() } else { rate }
        })
    };
    let table = of(9, 3, wanted.to_vec());
    let seen = |table: &Table| -> Vec<(usize, usize, u64)> {
        let of = |entry: &strait::search::Entry| (entry.rung, entry.number, entry.candidate.training.epochs);
        table.entries().iter().map(of).collect()
    };
    let mut expected: Vec<(usize, usize, u64)> = (0..9).map(|number| (0, number, 1)).collect();
    expected.extend([(1, 2, 3), (1, 4, 3), (1, 6, 3), (2, 4, 9)]);
    assert_eq!(seen(&table), expected);
    let best = table.best().unwrap();
    assert_eq!((best.number, best.rung, best.score()), (4, 2, Some(0.0)));
    // As many rungs as leave an epoch, and as leave a candidate.
    assert_eq!(seen(&of(2, 3, wanted.to_vec())).len(), 9);
    assert_eq!(of(2, 3, wanted.to_vec()).entries()[0].candidate.training.epochs, 2);
    let few = seen(&of(100, 2, wanted[..5].to_vec()));
    let rungs: Vec<(usize, u64)> = few.iter().map(|&(rung, _, epochs)| (rung, epochs)).collect();
    assert_eq!(rungs, [(0, 25), (0, 25), (0, 25), (0, 25), (0, 25), (1, 50), (1, 50), (2, 100)]);
    // Of equal scores the first goes on; who cannot be trained does not, and is none of those of which half go on.
    let search = Search::new(tiny(), Training { epochs: 2, ..training() })
        .axis("weight", [-1.0, 0.0, 0.0, 0.0, 0.0, -1.0], |c, weight| c.spec.weight_decay = weight)
        .halving(2)
        .folds(2);
    let table = judged_by(search, |_, _| 0.0);
    let last: Vec<usize> = table.entries().iter().filter(|entry| entry.rung == 1).map(|entry| entry.number).collect();
    assert_eq!(last, [1, 2]);
    assert_eq!(table.best().unwrap().number, 1);
}

/// Rungs go by the fewest epochs of a candidate that can be trained. One without epochs is none, nor has it a score.
#[test]
fn rungs_go_by_who_can_be_trained() {
    type Seen = Vec<(usize, usize, u64, bool)>;
    let of = |epochs: &[u64]| -> (Table, usize) {
        let values: Vec<f64> = epochs.iter().map(|&epochs| epochs as f64).collect();
        let search = Search::new(tiny(), training())
            .axis("passes", values, |c, epochs| c.training.epochs = epochs as u64)
            .score("made", |session, _| Ok(-(session.training().epochs as f64)))
            .halving(2)
            .folds(2);
        let mut most = 0;
        let table = search.run_with(&gpu(), rows(12), |report| {
            assert!(report.done <= report.of);
            most = report.of;
            ControlFlow::Continue(())
        });
        (table.unwrap(), most)
    };
    let seen = |table: &Table| -> Seen {
        let entries = table.entries().iter();
        entries.map(|e| (e.rung, e.number, e.candidate.training.epochs, e.error.is_none())).collect()
    };
    // By hand: two that can be trained, of 8 epochs each, make rungs of 4 and of 8 epochs, whoever stands beside them.
    let (table, most) = of(&[8, 0, 8]);
    assert_eq!(seen(&table), [(0, 0, 4, true), (0, 1, 0, false), (0, 2, 4, true), (1, 0, 8, true)]);
    assert_eq!((most, table.is_whole(), table.best().unwrap().number), (8, true, 0));
    let without = &table.entries()[1];
    assert_eq!(without.error.as_deref(), Some("training.epochs is 0; allowed: 1 or more"));
    assert_eq!((without.scores.len(), without.score()), (0, None));
    // The fewest epochs say how many rungs there are: three leave two, and a single one leaves one.
    let (table, _) = of(&[8, 3, 8]);
    assert_eq!(seen(&table), [(0, 0, 4, true), (0, 1, 1, true), (0, 2, 4, true), (1, 0, 8, true)]);
    let (table, most) = of(&[8, 1, 8]);
    assert_eq!(seen(&table), [(0, 0, 8, true), (0, 1, 1, true), (0, 2, 8, true)]);
    assert_eq!(most, 6);
    // None at all.
    let (table, _) = of(&[0, 0]);
    assert_eq!(seen(&table), [(0, 0, 0, false), (0, 1, 0, false)]);
    assert!(table.is_whole() && table.best().is_none());
}

/// The callback sees every training, in order, and what was found before it.
#[test]
fn reports_tell_how_far_it_has_come() {
    let mut judged = vec![];
    let mut trained = BTreeSet::new();
    let table = search().run_with(&gpu(), rows(20), |report| {
        assert_eq!(report.of, 18);
        let scores: usize = report.table.entries().iter().map(|entry| entry.scores.len()).sum();
        assert_eq!(report.done, scores);
        match report.training {
            None => judged.push(report.done),
            Some(progress) => {
                assert!(progress.loss.is_finite());
                trained.insert(report.done);
            }
        }
        ControlFlow::Continue(())
    });
    assert!(table.unwrap().is_whole());
    assert!(judged.into_iter().eq(1..=18));
    assert!(trained.into_iter().eq(0..18));
}
