//! Candidates that differ in numbers alone are made alike: these numbers have constant ramps, so that kernels are compiled without
//! them and all share one set.

use std::collections::{BTreeMap, BTreeSet};

use super::Candidate;
use crate::model::Ramp;

/// The candidates as they are trained: whatever may have a ramp and differs among them has a constant one, where it has none of its
/// own and the candidate can be with it.
pub(super) fn alike(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let coefficients = varied(candidates.iter().map(|candidate| candidate.spec.coefficients()));
    let numbers = varied(candidates.iter().map(|candidate| candidate.training.numbers()));
    let make = |candidate: Candidate| {
        let mut ramped = candidate.clone();
        let mut with = |ramp: &dyn Fn(&mut Candidate)| {
            let before = ramped.clone();
            ramp(&mut ramped);
            if !ramped.training.can_train(&ramped.spec) {
                ramped = before;
            }
        };
        for (place, _) in candidate.spec.coefficients().into_iter().filter(|(place, _)| coefficients.contains(place)) {
            with(&|c| {
                c.spec.ramps.entry(place.clone()).or_insert(Ramp::constant());
            });
        }
        for name in &numbers {
            with(&|c| c.training.ramp_constantly(name));
        }
        ramped
    };
    candidates.into_iter().map(make).collect()
}

/// The names whose values differ.
fn varied<N: Ord + Clone>(all: impl Iterator<Item = Vec<(N, f64)>>) -> BTreeSet<N> {
    let (mut first, mut differ) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in all.flatten() {
        if *first.entry(name.clone()).or_insert(value.to_bits()) != value.to_bits() {
            differ.insert(name);
        }
    }
    differ
}
