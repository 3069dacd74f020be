//! strait beside other engines on one adapter, in turns, in one run: medians and ratios.
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --json`

mod burn;
mod meganeura;
mod peer;
#[path = "../../common/statistics.rs"]
#[allow(dead_code, reason = "benches use the rest")]
mod statistics;
mod strait;
mod table;
mod turns;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peer::{Name, Outcome};

/// Runs strait, Burn and meganeura on the same adapter, in turns, and prints medians and ratios.
#[derive(Parser)]
struct Options {
    /// Only these workloads, by name or by what their names begin with
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds; in each, every peer has its turn
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Leaves a peer out
    #[arg(long)]
    skip: Vec<Name>,
    /// Prints everything as JSON in the last line
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    hidden: Option<Hidden>,
}

#[derive(Subcommand)]
enum Hidden {
    /// Works for one peer, told what to do on stdin
    #[command(hide = true)]
    Work {
        /// Who
        peer: Name,
        /// At what
        workload: String,
    },
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Outcome {
    let all = workload::all();
    if let Some(Hidden::Work { peer, workload }) = options.hidden {
        let found = all.iter().find(|w| w.name == workload).ok_or_else(|| format!("there is no {workload:?}"))?;
        return peer::work(peer, found);
    }
    if let Some(bad) = options.only.iter().find(|only| !all.iter().any(|w| w.is_wanted(&[(*only).clone()]))) {
        let names: Vec<&str> = all.iter().map(|w| w.name.as_str()).collect();
        return Err(format!("there is no workload {bad:?}, but {}", names.join(", ")).into());
    }
    let peers: Vec<Name> = Name::ALL.into_iter().filter(|name| !options.skip.contains(name)).collect();
    if peers.is_empty() {
        return Err("nobody is left to measure".into());
    }
    let caches = tempfile::tempdir()?;
    let (mut notes, mut rows) = (vec![], vec![]);
    let (mut adapters, mut distinct) = (BTreeMap::new(), BTreeSet::new());
    println!("{}", table::head(&peers));
    for workload in all.iter().filter(|w| w.is_wanted(&options.only)) {
        let row = turns::measure(workload, &peers, options.rounds.into(), caches.path())?;
        println!("{}", table::line(workload, &row));
        notes.extend(table::notes(workload, &row));
        rows.push(table::json(workload, &row));
        for cell in row.cells {
            let [adapter, driver] = ["adapter", "driver"].map(|fact| cell.facts.get(fact).and_then(|v| v.as_str()));
            if let Some(adapter) = adapter {
                let named = format!("{adapter}, {}", driver.unwrap_or("driver unknown"));
                adapters.insert(cell.name.text(), named);
                distinct.insert(adapter.to_string());
            }
        }
    }
    println!("\nRatios are a peer's time by strait's: above 1, strait is faster.");
    adapters.iter().for_each(|(name, adapter)| println!("{name} ran on {adapter}"));
    if distinct.len() > 1 {
        println!("THESE ARE DIFFERENT ADAPTERS: the ratios compare nothing");
    }
    notes.iter().for_each(|note| println!("{note}"));
    if options.json {
        println!("{}", serde_json::json!({ "adapters": adapters, "rounds": options.rounds, "workloads": rows }));
    }
    Ok(())
}
