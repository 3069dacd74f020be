//! What the suites leave out on a device that lacks something, by name: each where it is left out, and all of it in one
//! closing line. Tests run in the order of their names, so this suite is the last.

use std::io::Write;

use crate::common::gpu;
use strait::internals::kernel::SUBGROUP;
use strait::internals::plan::Limits;

/// What a device may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Numbers of 16 bits.
    F16,
    /// Integers of 64 bits.
    Int64,
    /// Subgroups of as many threads as kernels know how to use.
    Subgroups,
}

impl Need {
    fn is_met(self, limits: Limits) -> bool {
        match self {
            Need::F16 => limits.f16,
            Need::Int64 => limits.int64,
            Need::Subgroups => limits.subgroup as usize == SUBGROUP,
        }
    }

    fn name(self) -> String {
        match self {
            Need::F16 => "numbers of 16 bits".into(),
            Need::Int64 => "integers of 64 bits".into(),
            Need::Subgroups => format!("subgroups of {SUBGROUP}"),
        }
    }
}

/// Every test, or part of one, that needs something.
const NEEDS: [(&str, Need); 12] = [
    ("adversarial::half_precision_trains_players", Need::F16),
    ("half::factors_are_rounded_and_nothing_else", Need::F16),
    ("half::memory_in_half_precision_changes_no_bit", Need::F16),
    ("half::digits_train_as_well_as_in_single_precision", Need::F16),
    ("old_files::models_compute_what_they_did, half", Need::F16),
    ("old_files::checkpoints_are_read_to_the_last_value, half", Need::F16),
    ("old_files::runs_go_on_to_the_end_they_had, half", Need::F16),
    ("old_files::a_run_that_lost_something_would_be_told, half", Need::F16),
    ("parity::matmul_every_tile_flag_and_shape, tiles of subgroups", Need::Subgroups),
    ("parity::matmul_every_tile_flag_and_shape, words of 64 bits", Need::Int64),
    ("ramps::half_precision", Need::F16),
    ("tuning::tuning_tells_precisions_apart", Need::F16),
];

/// Not `eprintln!`, which the harness keeps to itself while a test passes.
fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether the device has what a test, or a part of one, needs; where not, says so.
pub fn has(name: &str, need: Need) -> bool {
    assert!(NEEDS.contains(&(name, need)), "{name} is not in the list of what is left out");
    let met = need.is_met(gpu().limits());
    if !met {
        say(&format!("{name}: left out, since {} has no {}", gpu().adapter().name, need.name()));
    }
    met
}

#[test]
fn is_said_by_name() {
    let (limits, adapter) = (gpu().limits(), gpu().adapter().name.clone());
    let lacking: Vec<String> = NEEDS
        .iter()
        .filter(|(_, need)| !need.is_met(limits))
        .map(|(name, need)| format!("{name} (no {})", need.name()))
        .collect();
    match lacking.as_slice() {
        [] => say(&format!("{adapter}: nothing left out of {} that need something", NEEDS.len())),
        left => say(&format!(
            "{adapter}: left out {} of {} that need something: {}",
            left.len(),
            NEEDS.len(),
            left.join(", ")
        )),
    }
    let all = Limits { f16: true, int64: true, subgroup: SUBGROUP as u32, ..Limits::DEFAULT };
    for (name, need) in NEEDS {
        assert!(need.is_met(all) && !need.is_met(Limits::DEFAULT), "{name}");
    }
}
