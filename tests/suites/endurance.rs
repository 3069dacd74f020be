//! The short form of the example `endurance`: dropped futures, lost devices, killed processes.

#[path = "../../examples/endurance/trials.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod trials;

use std::path::Path;
use std::process::Command;

use crate::own_process::{command, job};
use trials::{awaited, dropped, losses, restored, saves};

/// Starts this test again, in a process that saves: to this path, so many times.
fn start(test: &'static str) -> impl Fn(&Path, u32) -> std::io::Result<Command> {
    move |path, times| command(test, &[&times.to_string(), path.to_str().expect("a path in UTF-8")])
}

/// Does what such a process is for, if this is one.
fn saved() -> bool {
    let Some(job) = job() else { return false };
    saves::save(Path::new(&job[1]), job[0].parse().unwrap()).unwrap();
    true
}

#[test]
fn dropped_futures_leave_nothing_behind() {
    let found = dropped::run(600).unwrap();
    assert!(found.dropped > 100, "{found:?}");
    assert_eq!(found.buffers, 0, "{found:?}");
}

#[test]
fn a_lost_device_is_told_whatever_was_under_way() {
    // In the middle of every operation, on one kind of host each; the example goes through all kinds.
    let count = losses::operations();
    assert_eq!(losses::run(count).unwrap(), count * (losses::operations() + 1));
}

#[test]
fn runs_outlive_their_devices_and_their_futures() {
    let lives = restored::run(8).unwrap();
    assert!(lives.further > 0, "{lives:?}");
    assert!(restored::dropped(60).unwrap() > 1);
}

/// By the clock only as far as a busy machine allows: the example says what it takes on a quiet one.
#[test]
fn others_have_their_turn_beside_a_run() {
    let found = awaited::run(200, 1).unwrap();
    assert!(found.pending >= found.reports, "{found:?}");
    assert!(found.timeout < 2000.0 && found.longest < 2000.0, "{found:?}");
}

#[test]
fn processes_killed_while_they_save_leave_whole_files() {
    if saved() {
        return;
    }
    saves::kills(6, &start("endurance::processes_killed_while_they_save_leave_whole_files")).unwrap();
}

#[test]
fn two_processes_save_to_one_path() {
    if saved() {
        return;
    }
    let read = saves::rivals(40, &start("endurance::two_processes_save_to_one_path")).unwrap();
    assert!(read > 0);
}
