//! Searches that are broken off anywhere, by their callback or by the end of their process, and go on to the same table.

use std::ops::ControlFlow;
use std::path::Path;

use super::*;
use crate::own_process::{command, job};
use strait::internals::plan::AdapterKind;
use strait::search::Table;

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
