//! Searches that are broken off anywhere, by their callback or by the end of their process, and go on to the same table.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::own_process::{command, job};
use strait::internals::plan::AdapterKind;
use strait::search::Table;
use strait::{Error, Loss, Result, Source};

/// Draws, two rungs, candidates that are refused and some that diverge.
fn varied() -> Search {
    Search::new(tiny(), Training { optimizer: strait::Optimizer::SGD, ..training() })
        .axis("rate", [1e-3, 1e-2, 1e-1, 1e30], |c, rate| c.training.learning_rate = rate)
        .axis("decay", Values::uniform(-1e-4, 1e-3), |c, decay| c.spec.weight_decay = decay)
        .random(8)
        .seed(2)
        .halving(2)
        .folds(2)
}

/// Checks that two tables are the same: to the bit on a software adapter.
fn same(found: &Table, expected: &Table) {
    if gpu().kind() == AdapterKind::Software {
        assert!(found == expected, "{found}\n{expected}");
    }
    let [found, expected] = [found, expected].map(|table| table.entries().iter().map(|e| (e.number, e.rung)));
    assert!(found.eq(expected));
}

#[test]
fn broken_off_at_any_report() {
    let expected = varied().run(&gpu(), rows(20)).unwrap();
    let errors: Vec<_> = expected.entries().iter().filter_map(|entry| entry.error.clone()).collect();
    assert!(errors.iter().any(|error| error.starts_with("weight_decay")), "{expected}");
    assert!(errors.iter().any(|error| error.contains("step")), "{expected}");
    assert!(expected.entries().iter().any(|entry| entry.rung == 1), "{expected}");
    let folder = tempfile::tempdir().unwrap();
    let mut breaks = 0;
    for stop in 1.. {
        let path = folder.path().join(stop.to_string());
        let search = varied().kept_at(&path);
        let mut reports = 0;
        let table = search.run_with(&gpu(), rows(20), |_| {
            reports += 1;
            if reports == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let table = table.unwrap();
        if reports < stop {
            same(&table, &expected);
            break;
        }
        breaks += 1;
        same(&search.run(&gpu(), rows(20)).unwrap(), &expected);
        // What is whole is read, and nothing trained.
        same(&search.run_with(&gpu(), rows(20), |_| panic!("nothing is left")).unwrap(), &expected);
    }
    assert!(breaks > 20, "{breaks} breaks");
}

/// What was judged before a device was lost is in the file, and another device goes on from there.
#[test]
fn lost_devices() {
    let expected = varied().run(&gpu(), rows(20)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let search = varied().kept_at(folder.path().join("table"));
    let lost = crate::common::own_gpu();
    let found = search.run_with(&lost, rows(20), |report| {
        if report.done == 5 && report.training.is_some() {
            lost.device().destroy();
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(found, Err(strait::Error::DeviceLost { .. })), "{found:?}");
    let mut first = None;
    let table = search.run_with(&gpu(), rows(20), |report| {
        first.get_or_insert(report.done);
        ControlFlow::Continue(())
    });
    same(&table.unwrap(), &expected);
    assert_eq!(first, Some(5));
}

/// Rows whose reading fails from a read on, with an error of a kind.
struct Failing {
    rows: strait::Data,
    /// Reads that are left, and what comes then.
    left: AtomicUsize,
    error: fn() -> Error,
}

impl Failing {
    fn after(left: usize, error: fn() -> Error) -> Arc<dyn Source> {
        Arc::new(Failing { rows: rows(20), left: AtomicUsize::new(left), error })
    }
}

impl Source for Failing {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn columns(&self) -> usize {
        self.rows.columns()
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => self.rows.read(first_row, out),
            Err(_) => Err((self.error)()),
        }
    }

    fn name(&self) -> &str {
        self.rows.name()
    }
}

/// Where rows cannot be read, whatever the error, the search ends with it; no candidate is blamed, and the search goes on to the
/// whole table once they can. What a candidate wants of its rows stays in the table.
#[test]
fn rows_that_cannot_be_read_end_the_search() {
    // Rows that lie together are read at once.
    let parts = [(0..10).collect::<Vec<_>>(), (10..20).collect()];
    let fold = |train: usize| Fold { train: parts[train].clone(), held: parts[1 - train].clone() };
    let search = || {
        Search::new(tiny(), training())
            .axis("rate", [1e-3, 1e-2, 1e-1], |c, rate| c.training.learning_rate = rate)
            .choice("loss", [("mse", Loss::Mse), ("bernoulli", Loss::Bernoulli)], |c, loss| c.spec.loss = loss.clone())
            .splits(vec![fold(0), fold(1)])
    };
    let expected = search().run(&gpu(), rows(20)).unwrap();
    let of_bernoulli = |entry: &strait::search::Entry| entry.values[1] == "bernoulli";
    for entry in expected.entries() {
        // Rows below 0 are none of a Bernoulli likelihood's.
        let error = entry.error.as_deref().unwrap_or_default();
        assert!(error.starts_with("fold 0: ") == of_bernoulli(entry) && error.contains("row") == of_bernoulli(entry));
        assert!(entry.score().is_some() != of_bernoulli(entry), "{expected}");
    }
    let errors: [fn() -> Error; 3] = [
        || Error::data("my database", "a timeout", "an answer"),
        || Error::spec("my database", "a timeout", "an answer"),
        || Error::Io { path: "my database".into(), source: std::io::Error::other("a timeout") },
    ];
    let folder = tempfile::tempdir().unwrap();
    for (kind, error) in errors.into_iter().enumerate() {
        let mut tables = 0;
        // From the first read on, which tells the fingerprint, until none is left that fails.
        for left in 0.. {
            let path = folder.path().join(format!("{kind}, {left}"));
            let search = search().kept_at(&path);
            let found = match search.run(&gpu(), Failing::after(left, error)) {
                Ok(table) => {
                    same(&table, &expected);
                    break;
                }
                Err(found) => found,
            };
            assert_eq!(
                (found.to_string(), std::mem::discriminant(&found)),
                (error().to_string(), std::mem::discriminant(&error()))
            );
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(!kept.contains("timeout"), "{kept}");
            tables += usize::from(!kept.is_empty());
            same(&search.run(&gpu(), rows(20)).unwrap(), &expected);
        }
        assert!(tables > 4, "{tables} tables that were begun");
    }
}

/// Goes on with the search in this process, which ends without a word at a report; the table as CSV where it comes to its end.
fn go_on(path: &str, most: usize) {
    let mut reports = 0;
    let table = varied().kept_at(path).run_with(&gpu(), rows(20), |_| {
        reports += 1;
        if reports > most {
            std::process::abort();
        }
        ControlFlow::Continue(())
    });
    let bits =
        |entry: &strait::search::Entry| entry.scores.iter().map(|s| format!("{:x}", s.to_bits())).collect::<Vec<_>>();
    let table = table.unwrap();
    let bits: Vec<_> = table.entries().iter().map(bits).collect();
    std::fs::write(format!("{path}.csv"), format!("{}{bits:?}", table.csv())).unwrap();
}

/// Whether a process that goes on with the search lived to its end.
fn start(path: &Path, most: usize) -> bool {
    let job = [path.to_str().unwrap(), &most.to_string()];
    let mut command = command("search::resumed::killed_and_resumed_in_new_processes", &job).unwrap();
    command.output().unwrap().status.success()
}

#[test]
fn killed_and_resumed_in_new_processes() {
    if let Some(job) = job() {
        return go_on(&job[0], job[1].parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    assert!(start(&whole, usize::MAX));
    let mut deaths = 0;
    while !start(&killed, 4 + deaths % 5) {
        deaths += 1;
        assert!(deaths < 40, "it never ends");
    }
    assert!(deaths > 3, "{deaths} deaths");
    let read = |path: &Path| std::fs::read_to_string(format!("{}.csv", path.display())).unwrap();
    if gpu().kind() == AdapterKind::Software {
        assert_eq!(read(&killed), read(&whole));
    }
    assert_eq!(read(&killed).lines().count(), read(&whole).lines().count());
}
