//! Measuring: a process for each peer, all of them taking turns, round by round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::peer::{MARK, NOT, Name, Outcome};
use crate::workload::{Task, Workload};

/// How long a peer may take to answer before it is given up: tuning takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);
/// What the fastest peer's share of a round should last at least, so that waiting for the device does not count.
const SHORT: f64 = 0.15;
/// What the slowest peer's should last at most.
const LONG: f64 = 2.0;
/// First steps that are measured; of Burn, which tunes for a minute before its own, fewer.
const FIRST_STEPS: usize = 5;
const FIRST_STEPS_OF_BURN: usize = 2;

/// What one peer came to at one workload.
pub struct Cell {
    /// Who.
    pub name: Name,
    /// Seconds a step, of each round.
    pub seconds: Vec<f64>,
    /// What it computed.
    pub check: Vec<f64>,
    /// Further figures.
    pub facts: BTreeMap<String, Value>,
    /// Why there is nothing, where there is nothing.
    pub trouble: Option<String>,
}

/// A workload's outcome.
pub struct Row {
    /// Steps of a round.
    pub steps: usize,
    /// Peers, in the order of [`Name::ALL`].
    pub cells: Vec<Cell>,
}

/// A process that works for a peer.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    folder: tempfile::TempDir,
}

impl Worker {
    /// Starts one with what it keeps on disk in `caches`.
    fn spawn(name: Name, workload: &Workload, caches: &Path, shader_cache: bool) -> Outcome<Worker> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        // Burn keeps what it tuned in the user's cache where no Cargo.toml lies above the current folder.
        command.args(["work", name.text(), &workload.name]).current_dir(caches).env("XDG_CACHE_HOME", caches);
        if !shader_cache {
            command.env("MESA_SHADER_CACHE_DISABLE", "true").env("__GL_SHADER_DISK_CACHE", "0");
        }
        let errors = File::create(folder.path().join("stderr"))?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("no stdout")?);
        let (said, lines) = channel();
        std::thread::spawn(move || {
            let marked = BufReader::new(output).lines().map_while(Result::ok);
            for line in marked.filter_map(|l| l.strip_prefix(MARK).map(str::to_string)) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Worker { child, input, lines, folder })
    }

    /// Its next answer.
    fn answer(&mut self) -> Outcome<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let mut answer: Value = serde_json::from_str(&line)?;
                match answer.get_mut("ok").map(Value::take) {
                    Some(value) => Ok(value),
                    None => Err(answer["error"].as_str().unwrap_or("no reason").into()),
                }
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer in {PATIENCE:?}").into()),
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words().into()),
        }
    }

    fn ask(&mut self, command: &str) -> Outcome<Value> {
        let input = self.input.as_mut().ok_or("no stdin")?;
        // Where it is gone, its last words say more than a broken pipe.
        let _ = writeln!(input, "{command}").and_then(|()| input.flush());
        self.answer()
    }

    /// Seconds that so many steps take.
    fn run(&mut self, steps: usize) -> Outcome<f64> {
        self.ask(&format!("run {steps}"))?.as_f64().ok_or_else(|| "no time".into())
    }

    /// How its process ended and what it said last.
    fn last_words(&mut self) -> String {
        let ended = self.child.wait().map_or("its process ended".into(), |status| status.to_string());
        let errors = std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = errors.lines().filter(|l| !l.trim().is_empty()).collect();
        let panic = lines.iter().position(|l| l.contains("panicked at"));
        let words = match panic {
            Some(at) => lines[at..lines.len().min(at + 2)].join(" "),
            None => lines.last().map_or_else(String::new, |l| l.to_string()),
        };
        format!("{ended}: {}", words.chars().take(300).collect::<String>())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.input.take());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures a workload. What Burn tunes is kept in `caches`, so that it tunes each shape once.
///
/// # Errors
/// Where no process can be started; what a peer fails at is told in its cell.
pub fn measure(workload: &Workload, peers: &[Name], rounds: usize, caches: &Path) -> Outcome<Row> {
    let empty = |&name: &Name| Cell { name, seconds: vec![], check: vec![], facts: BTreeMap::new(), trouble: None };
    let mut cells: Vec<Cell> = peers.iter().map(empty).collect();
    if let Task::FirstStep(_) = workload.task {
        first_steps(workload, &mut cells)?;
        return Ok(Row { steps: 1, cells });
    }
    let mut workers = vec![];
    let mut paces = vec![];
    for cell in &mut cells {
        eprintln!("{}: {} gets ready", workload.name, cell.name.text());
        let mut worker = Worker::spawn(cell.name, workload, caches, true)?;
        let ready = || -> Outcome<f64> {
            worker.answer()?;
            let checked = worker.ask("check")?;
            cell.check = checked.as_array().map(|a| a.iter().filter_map(Value::as_f64).collect()).unwrap_or_default();
            let pace = worker.run(1)?;
            // What takes seconds is told by one step.
            if pace < LONG { Ok(worker.run(2)? / 2.0) } else { Ok(pace) }
        };
        match told(cell.name, ready) {
            Ok(pace) => {
                paces.push(pace);
                workers.push(Some(worker));
            }
            Err(trouble) => {
                cell.trouble = Some(trouble);
                workers.push(None);
            }
        }
    }
    let fastest = paces.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = paces.iter().copied().fold(0.0, f64::max);
    // Every peer takes as many.
    let steps = (SHORT / fastest).ceil().min((LONG / slowest).floor()).max(1.0) as usize;
    for round in 0..rounds {
        for turn in 0..cells.len() {
            let at = (round + turn) % cells.len();
            let (cell, Some(worker)) = (&mut cells[at], &mut workers[at]) else { continue };
            let turn = || -> Outcome<f64> {
                // What takes seconds is long enough to be warm.
                if slowest < LONG {
                    worker.run(steps.div_ceil(8))?;
                }
                Ok(worker.run(steps)? / steps as f64)
            };
            match told(cell.name, turn) {
                Ok(seconds) => cell.seconds.push(seconds),
                Err(trouble) => (cell.trouble, workers[at]) = (Some(trouble), None),
            }
        }
    }
    for (cell, worker) in cells.iter_mut().zip(&mut workers) {
        if let Some(Value::Object(facts)) = worker.as_mut().map(|w| w.ask("facts")).transpose().unwrap_or_default() {
            cell.facts = facts.into_iter().collect();
        }
    }
    Ok(Row { steps, cells })
}

/// From the start of a process to the end of its first step, nothing left over from any before.
fn first_steps(workload: &Workload, cells: &mut [Cell]) -> Outcome {
    for round in 0..FIRST_STEPS {
        for turn in 0..cells.len() {
            let at = (round + turn) % cells.len();
            let cell = &mut cells[at];
            if cell.trouble.is_some() || cell.name == Name::Burn && round >= FIRST_STEPS_OF_BURN {
                continue;
            }
            eprintln!("{}: {}, {} of {FIRST_STEPS}", workload.name, cell.name.text(), round + 1);
            let caches = tempfile::tempdir()?;
            let begun = Instant::now();
            let mut worker = Worker::spawn(cell.name, workload, caches.path(), false)?;
            let first = || -> Outcome<f64> {
                worker.answer()?;
                worker.run(1)?;
                Ok(begun.elapsed().as_secs_f64())
            };
            match told(cell.name, first) {
                Ok(seconds) => cell.seconds.push(seconds),
                Err(trouble) => cell.trouble = Some(trouble),
            }
        }
    }
    Ok(())
}

/// What went wrong as text, also told at once where it is no matter of what can be expressed.
fn told(name: Name, work: impl FnOnce() -> Outcome<f64>) -> Result<f64, String> {
    work().map_err(|error| {
        let trouble = error.to_string();
        if !trouble.starts_with(NOT) {
            eprintln!("{}: {trouble}", name.text());
        }
        trouble
    })
}
