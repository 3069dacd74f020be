//! What a peer is: one file that starts a workload and takes steps of it, in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use clap::ValueEnum;

use crate::workload::{COMPARED, Workload};
use crate::{burn, meganeura, strait};

/// Whatever went wrong, for people.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Who is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Name {
    /// This crate.
    Strait,
    /// Burn, wgpu backend with fusion and autotune.
    Burn,
    /// meganeura, Vulkan through blade.
    Meganeura,
}

impl Name {
    /// Everyone, in the order of the table.
    pub const ALL: [Name; 3] = [Name::Strait, Name::Burn, Name::Meganeura];

    /// As the table says.
    pub fn text(self) -> &'static str {
        match self {
            Name::Strait => "strait",
            Name::Burn => "burn",
            Name::Meganeura => "meganeura",
        }
    }

    /// Makes a workload ready, up to its first step and no further.
    ///
    /// # Errors
    /// Where the peer has no way to express it ([`NOT`]), or fails.
    pub fn start(self, workload: &Workload) -> Outcome<Box<dyn Peer>> {
        match self {
            Name::Strait => strait::start(workload),
            Name::Burn => burn::start(workload),
            Name::Meganeura => meganeura::start(workload),
        }
    }
}

/// What the error of a peer begins with that has no way to express a workload.
pub const NOT: &str = "not expressible";

/// A peer at a workload.
pub trait Peer {
    /// Tunes, where the peer can, takes the first `steps` steps and returns what it computed: the loss of each, or a
    /// sample of the result.
    ///
    /// # Errors
    /// What the peer reports.
    fn check(&mut self, steps: usize) -> Outcome<Vec<f64>>;

    /// Takes so many steps and waits until the device is done.
    ///
    /// # Errors
    /// What the peer reports.
    fn run(&mut self, steps: usize) -> Outcome;

    /// Further figures worth a word, by name.
    fn facts(&mut self) -> BTreeMap<String, serde_json::Value>;
}

/// What a line begins with that is meant for the process that measures: peers print lines of their own.
pub const MARK: &str = "@peers ";

/// A worker's life: makes its workload ready, then does what it is told on stdin, each time saying when it is done.
///
/// # Errors
/// Where its pipes break.
pub fn work(name: Name, workload: &Workload) -> Outcome {
    let said = |answer: Outcome<serde_json::Value>| -> Outcome<bool> {
        let fine = answer.is_ok();
        let line = match answer {
            Ok(value) => serde_json::json!({ "ok": value }),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{MARK}{line}")?;
        out.flush()?;
        Ok(fine)
    };
    let mut peer = match name.start(workload) {
        Ok(peer) => peer,
        Err(error) => return said(Err(error)).map(drop),
    };
    said(Ok(serde_json::Value::Null))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ') {
            Some(("run", steps)) => {
                let steps = steps.parse()?;
                let begun = std::time::Instant::now();
                peer.run(steps).map(|()| begun.elapsed().as_secs_f64().into())
            }
            None if line == "check" => peer.check(COMPARED).map(Into::into),
            None if line == "facts" => Ok(serde_json::json!(peer.facts())),
            _ => Err(format!("what is {line:?}?").into()),
        };
        if !said(answer)? {
            break;
        }
    }
    Ok(())
}
