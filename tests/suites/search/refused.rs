//! Searches that cannot be, and files that are none of theirs: errors that name the place, the value and what is allowed.

use std::path::Path;

use super::*;
use strait::Error;
use strait::search::Candidate;

fn put(_: &mut Candidate, _: f64) {}

fn refusal(search: Search, count: usize) -> String {
    let error = search.run(&gpu(), rows(count)).unwrap_err();
    assert!(matches!(error, Error::Spec { .. } | Error::Data { .. } | Error::Checkpoint { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn searches_that_cannot_be() {
    let none = || Search::new(tiny(), training());
    let range = |values: Values| none().axis("x", values, put).random(2);
    let fold = |train: &[usize], held: &[usize]| search().splits(vec![Fold { train: train.into(), held: held.into() }]);
    let cases: Vec<(Search, &str)> = vec![
        (none(), "axes is none; allowed: 1 or more: Search::axis, Search::choice"),
        (none().axis("x", vec![], put), "axes[\"x\"] is without values; allowed: 1 or more"),
        (
            none().choice::<u8>("x", Vec::<(String, u8)>::new(), |_, _| {}),
            "axes[\"x\"] is without values; allowed: 1 or more",
        ),
        (none().axis("x", [1.0, f64::NAN], put), "axes[\"x\"] is NaN; allowed: finite numbers"),
        (search().axis("weight_decay", [1.0], put), "axes is \"weight_decay\" twice; allowed: names that differ"),
        (search().random(0), "random is 0; allowed: 1 to 1048576 candidates"),
        (search().random(1 << 21), "random is 2097152; allowed: 1 to 1048576 candidates"),
        (
            none().axis("x", vec![0.0; 2000], put).axis("y", vec![0.0; 1000], put),
            "grid is 2000 x 1000; allowed: at most 1048576 candidates",
        ),
        (
            none().axis("x", Values::uniform(0.0, 1.0), put),
            "axes[\"x\"] is a range from 0 to 1; allowed: a list of values in a grid; Search::random draws from ranges",
        ),
        (
            range(Values::uniform(1.0, 1.0)),
            "axes[\"x\"] is a range from 1 to 1; allowed: a range from a finite number to a larger one",
        ),
        (
            range(Values::uniform(0.0, f64::INFINITY)),
            "axes[\"x\"] is a range from 0 to inf; allowed: a range from a finite number to a larger one",
        ),
        (
            range(Values::log_uniform(0.0, 1.0)),
            "axes[\"x\"] is a range from 0 to 1; allowed: a range above 0, where it is drawn by logarithms",
        ),
        (search().halving(1), "halving is 1; allowed: a ratio of 2 or more"),
        (search().folds(1), "folds is 1; allowed: 2 or more"),
        (search().folds(11), "rows to split into folds: found 10; allowed: 11 or more, one for each fold"),
        (search().hold_out(1.0), "hold_out is 1; allowed: between 0 and 1"),
        (search().hold_out(0.99), "rows to split: found 10; allowed: enough to hold some out and train on others"),
        (search().splits(vec![]), "splits is none; allowed: 1 or more"),
        (fold(&[], &[1]), "splits[0].train is without rows; allowed: 1 or more"),
        (fold(&[1], &[10]), "splits[0].held is row 10; allowed: less than 10"),
        (fold(&[1, 2], &[3, 2]), "splits[0].held is row 2; allowed: rows that are not in train"),
    ];
    for (search, expected) in cases {
        assert_eq!(refusal(search, 10), expected);
    }
}

/// Every column of a table has a name of its own: those that each table has are no axis's and no score's.
#[test]
fn names_of_a_tables_own_columns() {
    let own = "a name that is none of candidate, rung, epochs, deviation, error, fold 0, fold 1 and so on";
    for name in ["candidate", "rung", "epochs", "deviation", "error", "fold 0", "fold 12"] {
        let axis = search().axis(name, [1.0], put);
        let expected = format!("axes is {name:?}; allowed: {own}, nor that of the score, \"reconstruction\"");
        assert_eq!(refusal(axis, 10), expected);
        let score = search().score(name, |_, _| Ok(0.0));
        assert_eq!(refusal(score, 10), format!("score is {name:?}; allowed: {own}"));
    }
    let expected = format!("axes is \"weight_decay\"; allowed: {own}, nor that of the score, \"weight_decay\"");
    assert_eq!(refusal(search().term("weight_decay"), 10), expected);
    for name in ["fold", "fold ", "fold x", "Epochs", "epochs of it"] {
        let table = search().choice(name, [("a", 0)], |_, _| {}).hold_out(0.5).run(&gpu(), rows(10)).unwrap();
        let header = table.csv().lines().next().unwrap().to_string();
        let names: Vec<&str> = header.split(',').collect();
        let all = ["candidate", "rung", "epochs", "learning_rate", "weight_decay", name, "reconstruction", "deviation"];
        assert_eq!(names, [&all[..], &["fold 0", "error"]].concat());
    }
}

/// A search that was broken off in its third training, at a place.
fn begun(path: &Path) -> Search {
    let search = search().kept_at(path);
    let table = search.run_with(&gpu(), rows(10), |report| match report.done {
        0..=3 => std::ops::ControlFlow::Continue(()),
        _ => std::ops::ControlFlow::Break(()),
    });
    let table = table.unwrap();
    assert!(!table.is_whole() && table.entries().len() == 2 && table.entries()[1].scores.len() == 1, "{table}");
    search
}

#[test]
fn files_that_are_none_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    let search = begun(&path);
    let whole = std::fs::read_to_string(&path).unwrap();
    let told = |place: &str| format!("{}: {place}", path.display());
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = search.run(&gpu(), rows(10)).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().starts_with(&told("contents: found ")), "{error}");
    }
    let (entries, id) = (whole.find("\"entries\":[").unwrap() + 11, whole.find("\"search\":\"").unwrap() + 10);
    let first = whole[entries..].split_inclusive('}').next().unwrap();
    let with = |from: &str, to: &str| {
        assert!(whole.contains(from), "{whole}");
        whole.replacen(from, to, 1)
    };
    let also = |more: &str| whole.replacen("\"entries\":[", &format!("\"entries\":[{more},"), 1);
    let scores = first.split(['[', ']']).nth(1).unwrap();
    let cases = [
        (with("strait search 1", "strait search 2"), "format: found strait search 2; allowed: strait search 1".to_string()),
        (
            with("\"number\":1", "\"number\":7"),
            "entries[1]: found candidate 7 on rung 0; allowed: candidate 1 on rung 0, which the scores before it lead to".into(),
        ),
        (
            with("\"rung\":0", "\"rung\":1"),
            "entries[0]: found candidate 0 on rung 1; allowed: candidate 0 on rung 0, which the scores before it lead to".into(),
        ),
        (with(scores, &format!("{scores},0.5")), "entries[0]: found 4 scores; allowed: at most 3".into()),
        (with(scores, "0.5"), "entries[0]: found 1 scores; allowed: 3, since there are entries after it".into()),
        (
            with(&format!("{scores}]"), &format!("{scores}],\"error\":\"no\"")),
            "entries[0]: found 3 scores; allowed: at most 2".into(),
        ),
        (
            also(first),
            "entries[1]: found candidate 0 on rung 0; allowed: candidate 1 on rung 0, which the scores before it lead to".into(),
        ),
    ];
    for (text, expected) in cases {
        std::fs::write(&path, text).unwrap();
        assert_eq!(refusal(search_at(&path), 10), told(&expected));
    }
    for bad in [
        with(scores, "1e999"),
        with(scores, "null"),
        with("\"rung\":0", "\"rung\":-1"),
        with("\"format\"", "\"farmat\""),
    ] {
        std::fs::write(&path, bad).unwrap();
        assert!(refusal(search_at(&path), 10).starts_with(&told("contents: found ")));
    }
    // More entries than the search has.
    std::fs::write(&path, &whole).unwrap();
    search.run(&gpu(), rows(10)).unwrap();
    let complete = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, complete.replacen("]}]}", "]},{\"number\":6,\"rung\":0,\"scores\":[]}]}", 1)).unwrap();
    let expected = "entries[6]: found candidate 6 on rung 0; allowed: no more entries than the search has";
    assert_eq!(refusal(search_at(&path), 10), told(expected));
    // Those of other searches.
    std::fs::write(&path, &whole).unwrap();
    let others = [
        search_at(&path).seed(1),
        search_at(&path).folds(4),
        search_at(&path).loss(),
        search_at(&path).term("l1"),
        search_at(&path).halving(2),
        search_at(&path).axis("more", [1.0], put),
        Search::new(tiny(), Training { seed: 1, ..training() })
            .axis("learning_rate", [1e-3, 1e-2], |c, rate| c.training.learning_rate = rate)
            .axis("weight_decay", [0.0, 1e-3, 1e-1], |c, weight| c.spec.weight_decay = weight)
            .folds(3)
            .kept_at(&path),
        // The same values, put into something else.
        Search::new(tiny(), training())
            .axis("learning_rate", [1e-3, 1e-2], |c, rate| c.training.learning_rate = rate)
            .axis("weight_decay", [0.0, 1e-3, 1e-1], |c, weight| c.training.clip_norm = Some(1.0 + weight))
            .folds(3)
            .kept_at(&path),
    ];
    for other in others {
        let said = refusal(other, 10);
        assert!(said.starts_with(&told("search: found ")) && said.contains(&whole[id..id + 16]), "{said}");
        assert!(said.ends_with("the same axes, base, folds, seed, score and rows"), "{said}");
    }
    assert!(refusal(search_at(&path), 11).starts_with(&told("search: found ")), "other rows");
    let mut changed = rows(10).values().to_vec();
    changed[29] += 1e-3;
    let error = search.run(&gpu(), Data::from_rows(3, changed).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with(&told("search: found ")), "another value: {error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "what was refused is left alone");
    // Nowhere to write.
    let missing = search_at(&folder.path().join("no/such/table"));
    assert!(matches!(missing.run(&gpu(), rows(10)), Err(Error::Io { .. })));
    assert!(matches!(search_at(folder.path()).run(&gpu(), rows(10)), Err(Error::Io { .. })));
}

fn search_at(path: &Path) -> Search {
    search().kept_at(path)
}
