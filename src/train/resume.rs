//! Checkpoints of trainers: every tensor of the run, the moments of its phase, and where it stands. The run itself is the
//! caller's and is given again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufWriter;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(doc)]
use super::Session;
use super::averages::Average;
use super::fit::Reading;
use super::phase::moments;
use super::snapshot::{SNAPSHOT, Snapshot};
use super::{Run, Trainer};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait};
use crate::graph::Kept;
use crate::inference::{self, Contents, Model, STATE, StateFile, failure};
use crate::model::{Network, Spec};

/// The key of a file's metadata under which it is said where the run stands.
const KEY: &str = "strait.trainer";

/// Where a run of phases stands, as metadata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    /// The spec over whose tensors the run is, where it is over some; older files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<Spec>,
    /// The names of the run's phases.
    phases: Vec<String>,
    phase: usize,
    /// Steps taken in it.
    step: u64,
    /// Whether it is over.
    over: bool,
    /// The rows that it trains on, where they are known.
    rows: Option<u64>,
    /// Whether the frozen tensors are known: the scaling of the input, and what its corruption needs. Files from before it was
    /// said know them from where rows were loaded on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<bool>,
    /// The names of the phase's steps, in whose order sets have their moments; none in older files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<String>,
    /// How often each step of the phase's turn is taken, by which the updates of an average are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    repeats: Vec<u64>,
    /// The averages that are kept, by their sets' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    averages: BTreeMap<String, Average>,
}

impl Run {
    /// What a file has of a run that stands somewhere: the values of all tensors, the frozen ones, the averages, and the
    /// moments of the sets that the phase trains. A set's name has no `/` and no `:` in it, so that no two of these have one name.
    fn contents(&self, standing: &Standing) -> Contents {
        let graph = self.graph();
        let mut contents = Contents::default();
        let begun = standing.step > 0 && !standing.over;
        let steps = if begun { self.phases[standing.phase].steps.as_slice() } else { &[] };
        for set in graph.sets() {
            let mut has = vec![];
            for which in 0..steps.len() {
                for (update, moments) in steps[which].updates.iter().zip(moments(steps, which)) {
                    let own = update.sets.iter().position(|&other| other == set).map(|at| moments[at]);
                    let kept = own.into_iter().flat_map(|own| update.kept(own));
                    has.extend(kept.filter(|kept| matches!(kept, Kept::First(_) | Kept::Second(_))));
                }
            }
            has.sort();
            has.extend(standing.averages.contains_key(graph.set_name(set)).then_some(Kept::Average));
            for i in graph.members(set) {
                let tensor = &graph.params[i];
                let name = format!("{}/{}", graph.set_name(set), tensor.name);
                contents.add(name.clone(), &tensor.shape, Some(Kept::Values), i);
                for &kept in &has {
                    contents.add(format!("{}:{name}", prefix(kept)), &tensor.shape, Some(kept), i);
                }
            }
        }
        for (i, tensor) in graph.constants.iter().enumerate() {
            contents.add(format!("constants:{}", tensor.name), &tensor.shape, None, i);
        }
        contents
    }
}

impl Trainer {
    /// Writes all tensors and where the run stands, so that [`Trainer::resume`] goes on as if nothing had happened: from
    /// the middle of any phase and of any turn. Steps that are under way come to their end first; where one of them
    /// goes bad, what is written is the state before it.
    ///
    /// # Errors
    /// As [`Session::checkpoint`].
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let step = pollster::block_on(self.course.settled_step(Wait::Block))?;
        let (path, (metadata, contents)) = (path.as_ref(), self.standing(step)?);
        inference::replace(path, |file| {
            contents.write(path, &mut BufWriter::new(file), [(KEY.into(), metadata)], &self.course.resident)
        })
    }

    /// A checkpoint in memory, as [`Session::snapshot`].
    ///
    /// # Errors
    /// As [`Trainer::checkpoint`], but for the file's.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.reading(pollster::block_on(self.course.settled_step(Wait::Block))?)?()
    }

    /// What reads back a snapshot of where the run stands after a step.
    pub(super) fn reading(&self, step: (u64, bool)) -> Result<Reading> {
        let ((metadata, contents), resident) = (self.standing(step)?, self.course.resident.clone());
        Ok(Box::new(move || {
            let mut bytes = Vec::new();
            contents.write(Path::new(SNAPSHOT), &mut bytes, [(KEY.into(), metadata)], &resident)?;
            Ok(Snapshot::new(None, step.0, bytes))
        }))
    }

    /// What a file has of the run where it stands after a step, once those under way have run.
    fn standing(&self, (step, _): (u64, bool)) -> Result<(String, Contents)> {
        let (graph, averages) = (self.run.graph(), self.course.averages.iter());
        let total = self.course.engine.as_ref().map(|engine| engine.table.total_steps());
        let standing = Standing {
            spec: self.run.network.as_ref().map(|network| network.spec().clone()),
            phases: self.run.phases.iter().map(|phase| phase.name.clone()).collect(),
            phase: self.phase,
            step,
            over: total.map_or(self.course.finished, |total| step >= total),
            rows: self.course.rows,
            known: self.model.as_ref().map(Model::is_known),
            steps: steps(&self.run, self.phase),
            repeats: if averages.len() > 0 { repeats(&self.run, self.phase) } else { vec![] },
            averages: averages.map(|(&set, &average)| (graph.set_name(set).to_string(), average)).collect(),
        };
        let metadata = serde_json::to_string(&standing).map_err(|e| Error::Internal(format!("metadata: {e}")))?;
        Ok((metadata, self.run.contents(&standing)))
    }

    /// Has [`Trainer::fit`] and its like take a snapshot once so many steps of a phase were taken since the last one, as
    /// [`Session::snapshot_every`].
    pub fn snapshot_every(&mut self, steps: Option<u64>) {
        self.course.snapshot_every(steps);
    }

    /// The last snapshot that [`Trainer::snapshot_every`] had taken. It is there when the device is lost, too.
    pub fn last_snapshot(&self) -> Option<&Snapshot> {
        self.course.snapshot.as_ref()
    }

    /// Goes on with a run from a checkpoint of it: on the same data, adapter and driver the parameters end up the same to
    /// the bit. The run is given as it was when it was begun. Where it has other options, such as another learning rate,
    /// it goes on with those, as long as its spec, its tensors, the names of its phases and the moments of the current one are
    /// the same, and of its steps. What else is in its graphs is the caller's to give again. Files of older versions do not say
    /// their spec, and are taken for those of the run. Averages with another decay, or that the file has not, begin with the next step.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`Error::Checkpoint`] where the file is not one of this run, with what differs; [`Error::Io`].
    pub fn resume(gpu: &Gpu, run: Run, path: impl AsRef<Path>) -> Result<Trainer> {
        Trainer::from_file(gpu, run, StateFile::open(path.as_ref())?)
    }

    /// Goes on from a snapshot, on this device or another: as [`Trainer::resume`].
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn restore(gpu: &Gpu, run: Run, snapshot: &Snapshot) -> Result<Trainer> {
        Trainer::from_file(gpu, run, StateFile::in_memory(Path::new(SNAPSHOT), snapshot.content())?)
    }

    fn from_file(gpu: &Gpu, run: Run, mut file: StateFile) -> Result<Trainer> {
        run.check()?;
        let path = file.path().to_path_buf();
        let fail = failure(&path);
        let text = file.metadata(KEY).ok_or_else(|| fail(KEY, "nothing", "a checkpoint of a Trainer"))?;
        let standing: Standing =
            serde_json::from_str(text).map_err(|e| fail(KEY, &e.to_string(), "where a run stands"))?;
        if let Some(spec) = &standing.spec {
            let own = run.network.as_ref().map(Network::spec);
            if let Some((place, found, wanted)) = difference("spec", &as_json(Some(spec))?, &as_json(own)?) {
                let allowed = format!("that of the run, {wanted}");
                return Err(fail(&format!("{KEY}: {place}"), &found, &allowed));
            }
        }
        let phases: Vec<&String> = run.phases.iter().map(|phase| &phase.name).collect();
        if standing.phases.iter().collect::<Vec<_>>() != phases {
            let [found, allowed] = [format!("phases {:?}", standing.phases), format!("those of the run, {phases:?}")];
            return Err(fail(KEY, &found, &allowed));
        }
        if standing.phase >= phases.len() {
            return Err(fail(KEY, &format!("phase {}", standing.phase), &format!("below {}", phases.len())));
        }
        let names = steps(&run, standing.phase);
        if !standing.steps.is_empty() && standing.steps != names {
            let [found, allowed] = [format!("steps {:?}", standing.steps), format!("those of the phase, {names:?}")];
            return Err(fail(KEY, &found, &allowed));
        }
        if standing.step > 0 && standing.rows.is_none_or(|rows| rows == 0) {
            let found = format!("step {} over {:?} rows", standing.step, standing.rows.unwrap_or(0));
            return Err(fail(KEY, &found, "rows that it was taken over"));
        }
        // Where steps are taken more or less often than before, nobody knows how many updates an average has seen: it begins
        // anew with the next load.
        let counted = standing.repeats == repeats(&run, standing.phase);
        let mut averages = BTreeMap::new();
        for (name, average) in standing.averages.iter().filter(|_| counted) {
            let Some(set) = run.graph().sets().find(|&set| run.graph().set_name(set) == name) else {
                return Err(fail(KEY, &format!("an average of {name:?}"), "averages of the run's sets"));
            };
            let updates = run.phases[standing.phase].averaged(set, standing.step);
            average.check(updates).map_err(|e| fail(KEY, &e.to_string(), "an average of the phase's updates"))?;
            averages.insert(set, *average);
        }
        let contents = run.contents(&standing);
        file.check(&contents)?;
        let mut trainer = Trainer::new(gpu, run)?;
        contents.fill(&mut file, &mut trainer.course.resident)?;
        let Standing { phase, step, over, rows, known, .. } = standing;
        if let Some(model) = trainer.model.as_ref().filter(|_| known.unwrap_or(rows.is_some())) {
            let mut constants = trainer.course.resident.constants()?;
            inference::usable_scales(model.network().constants(), &mut constants)
                .map_err(|(name, bad)| fail(&format!("constants:{name}"), &format!("{bad:?}"), inference::SCALES))?;
            model.set_constants(&constants)?;
        }
        trainer.phase = phase;
        let course = &mut trainer.course;
        (course.step, course.finished, course.rows, course.snapshot_at) = (step, over, rows, step);
        course.averages = averages;
        Ok(trainer)
    }
}

/// What the names of something that is kept begin with in a file.
fn prefix(kept: Kept) -> String {
    let (first, update) = match kept {
        Kept::First(update) => (Kept::First(0), update),
        Kept::Second(update) => (Kept::Second(0), update),
        kept => (kept, 0),
    };
    let prefix = STATE.into_iter().find(|(other, _)| *other == first).map_or("", |(_, prefix)| prefix);
    let prefix = prefix.trim_end_matches('.');
    if update == 0 { prefix.into() } else { format!("{prefix}.{update}") }
}

/// A spec as JSON; `null` where there is none.
fn as_json(spec: Option<&Spec>) -> Result<Value> {
    serde_json::to_value(spec).map_err(|e| Error::spec("spec", e, "what JSON can hold"))
}

/// The first place at which two values differ, called `place` as a whole, and what each has there.
fn difference(place: &str, found: &Value, wanted: &Value) -> Option<(String, String, String)> {
    let shown = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
    let part = |place: String, found: Option<&Value>, wanted: Option<&Value>| match (found, wanted) {
        (Some(found), Some(wanted)) => difference(&place, found, wanted),
        (None, None) => None,
        (found, wanted) => Some((place, shown(found), shown(wanted))),
    };
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
            keys.into_iter().find_map(|key| part(format!("{place}.{key}"), found.get(key), wanted.get(key)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            (0..found.len().max(wanted.len())).find_map(|i| part(format!("{place}[{i}]"), found.get(i), wanted.get(i)))
        }
        _ => (found != wanted).then(|| (place.into(), found.to_string(), wanted.to_string())),
    }
}

/// The names of a phase's steps.
fn steps(run: &Run, phase: usize) -> Vec<String> {
    run.phases.get(phase).map_or(vec![], |phase| phase.steps.iter().map(|step| step.name.clone()).collect())
}

/// How often each step of a phase is taken in a turn.
fn repeats(run: &Run, phase: usize) -> Vec<u64> {
    run.phases.get(phase).map_or(vec![], |phase| phase.steps.iter().map(|step| step.repeat).collect())
}
