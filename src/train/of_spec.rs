//! What all runs over the tensors of a spec are made of: how they begin with the options of a training, the update of all of
//! them, and phases whose rows are the spec's.

use super::{Phase, Run, Step, Training, Update};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::model::{Part, Spec};

/// A run over the tensors of a spec in these sets, as [`Run::of`], with these options, without phases yet.
///
/// # Errors
/// As [`check`] and [`Run::of`].
pub(super) fn begun(spec: &Spec, sets: &[(&str, &[&str])], training: &Training) -> Result<Run> {
    check(training)?;
    let mut run = Run::of(spec, sets)?;
    (run.seed, run.data_budget) = (training.seed, training.data_budget);
    Ok(run)
}

/// Fails where these options cannot be those of a phase.
pub(super) fn check(training: &Training) -> Result<()> {
    training.check()?;
    match training.early_stopping {
        None => Ok(()),
        Some(_) => Err(Error::spec("early_stopping", "some", "none: phases look at no validation rows")),
    }
}

/// The update of all tensors of the spec that this part of a run is.
pub(super) fn update_of_all(run: &Run, part: &Part, training: &Training) -> Update {
    let tensors = run.graph();
    let own = tensors.sets().filter(|&set| tensors.members(set).any(|i| part.params().contains(&i)));
    training.update(own)
}

/// A phase of these steps with these options, whose rows are those of a part.
pub(super) fn phase(
    name: impl Into<String>,
    steps: impl Into<Vec<Step>>,
    cached: Option<Graph>,
    training: &Training,
    rows: &Part,
) -> Phase {
    let &Training { batch, epochs, drop_last, .. } = training;
    let rows_of = Some(rows.network().clone());
    Phase { batch, epochs, drop_last, cached, rows_of, ..Phase::new(name, steps) }
}
