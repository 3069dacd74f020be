//! What a host may do to strait for hours: `cargo run --release --example endurance`. Nothing panics, hangs or is left
//! over, and a lost device is always told as such.

#[path = "trials.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod trials;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use trials::outcome::{self, Outcome};
use trials::{awaited, dropped, losses, restored, saves};

/// Drops futures, loses devices and kills processes while they save; what is 0 is left out.
#[derive(Parser)]
struct Options {
    /// Futures to drop
    #[arg(long, default_value_t = 50_000)]
    dropped: usize,
    /// Futures of runs to drop
    #[arg(long, default_value_t = 5_000)]
    runs: usize,
    /// Rows of a run that is awaited beside a timer
    #[arg(long, default_value_t = 1_000)]
    awaited: usize,
    /// Devices to lose, in the middle of operations and once more in the middle of runs
    #[arg(long, default_value_t = 200)]
    losses: usize,
    /// Processes to kill while they save
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Saves of each of two processes to one path
    #[arg(long, default_value_t = 500)]
    saves: u32,
    /// Saves to this path, --saves times, and does nothing else: what the processes do that are killed
    #[arg(long, hide = true)]
    save: Option<PathBuf>,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    if let Some(path) = &options.save {
        return saves::save(path, options.saves);
    }
    let start = |path: &Path, times: u32| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--save").arg(path).args(["--saves", &times.to_string()]);
        Ok(command)
    };
    let Options { dropped, runs, awaited, losses, kills, saves, .. } = options;
    if dropped + runs + awaited + losses + kills + saves as usize == 0 {
        let all = "--dropped, --runs, --awaited, --losses, --kills and --saves";
        return Err(format!("{all} are all 0, which leaves nothing to do").into());
    }
    let begun = Instant::now();
    let futures = dropped::run(options.dropped)?;
    let threads = waiting();
    println!(
        "{} futures dropped and {} finished beside load; {} buffers and {threads} threads left over",
        futures.dropped, futures.finished, futures.buffers
    );
    let ended = restored::dropped(options.runs)?;
    println!("{} futures of runs dropped: {ended} runs came to their end, all to the same bits", options.runs);
    let awaited = if options.awaited > 0 { Some(awaited::run(options.awaited, 2)?) } else { None };
    if let Some(awaited::Awaited { timeout, gap, longest, reports, pending }) = &awaited {
        println!(
            "a timeout of 50 ms around a run fired after {timeout:.1} ms; beside its {reports} reports, for which it was"
        );
        println!(
            "polled {pending} times, a timer of 2 ms had gaps of {gap:.1} ms (99 %), the longest poll took {longest:.1} ms"
        );
    }
    let asked = losses::run(options.losses)?;
    println!("{} devices lost: DeviceLost {asked} times of {asked}", options.losses);
    let lives = restored::run(options.losses)?;
    println!(
        "{} devices lost in the middle of runs, which came further on {} of them; {} came to their end, all to the same bits",
        options.losses, lives.further, lives.ended
    );
    let left = saves::kills(options.kills, &start)?;
    println!("{} kills while saving: the file always whole, {left} times a part left, none in the end", options.kills);
    let read = if options.saves > 0 { saves::rivals(options.saves, &start)? } else { 0 };
    println!("two processes saved {} times each to one path, read whole {read} times meanwhile", options.saves);
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    if options.json {
        let figures = serde_json::json!({
            "dropped": futures.dropped, "finished": futures.finished, "buffers": futures.buffers, "threads": threads,
            "runs": options.runs, "runs_ended": ended, "timeout_ms": awaited.as_ref().map(|a| a.timeout),
            "timer_gap_p99_ms": awaited.as_ref().map(|a| a.gap), "longest_poll_ms": awaited.as_ref().map(|a| a.longest),
            "losses": options.losses, "restored": lives.ended, "restored_further": lives.further, "device_lost": asked, "kills": options.kills, "parts_left": left, "read": read,
        });
        println!("{figures}");
    }
    if futures.buffers != 0 || threads != 0 {
        return Err("something is left over".into());
    }
    match awaited {
        Some(awaited) if awaited.timeout > 100.0 => {
            Err(format!("a timeout of 50 ms fired after {:.1} ms: at most 100 are asked", awaited.timeout).into())
        }
        Some(awaited) if awaited.gap > awaited.longest + 2.0 => {
            let asked = "at most the longest poll and 2 ms are asked";
            Err(format!("a timer of 2 ms had gaps of {:.1} ms (99 %): {asked}", awaited.gap).into())
        }
        _ => Ok(()),
    }
}

/// Threads of strait's, once all that was waited for has had time to arrive. Linux tells them by name.
fn waiting() -> usize {
    std::thread::sleep(Duration::from_secs(1));
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.map(name).filter(|name| name.starts_with("strait ")).count()
}
