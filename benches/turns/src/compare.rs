//! Measuring: a process for each build, all of them taking turns, round by round.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::statistics::{lower_bound, median};
use crate::work::{FIRST_STEP, NAMES};
use crate::{Compare, Outcome};

/// Seconds that a turn should last at least: what waking up costs is little beside it.
const TURN: f64 = 0.1;

/// Who takes turns: the old build, the new one, and the old one once more, which tells the noise.
const OLD: usize = 0;
const NEW: usize = 1;
const AGAIN: usize = 2;

/// A process that works.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn spawn(program: &Path, workload: &str) -> Outcome<Worker> {
        let mut command = Command::new(program);
        command.args(["work", workload]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if workload == FIRST_STEP {
            // What a first step costs is what nobody compiled before.
            command.env("MESA_SHADER_CACHE_DISABLE", "true").env("__GL_SHADER_DISK_CACHE", "0");
        }
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let input = child.stdin.take().ok_or("no stdin")?;
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Worker { child, input, output })
    }

    fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(format!("a worker ended: {}", self.child.wait()?).into()),
            _ => Ok(line.trim().to_string()),
        }
    }

    /// Seconds that so many steps take.
    fn run(&mut self, steps: u64) -> Outcome<f64> {
        writeln!(self.input, "{steps}")?;
        Ok(self.answer()?.parse()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Asleep on stdin, or past hope.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs both builds in turns and prints the table.
///
/// # Errors
/// What a worker fails at; its own words are on stderr.
pub fn compare(options: &Compare) -> Outcome {
    println!("{} rounds; ratios are the time of {} by the time of the present tree", options.rounds, options.commit);
    println!("{:<12} {:>12} {:>12} {:>8} {:>8}   old / old", "", "old ms", "new ms", "ratio", "95 %");
    let mut rows = Vec::new();
    for name in NAMES.into_iter().filter(|name| options.only.is_empty() || options.only.iter().any(|o| o == name)) {
        let times = match name {
            FIRST_STEP => first_steps(options)?,
            _ => turns(options, name)?,
        };
        let ratios = |by: usize| -> Vec<f64> { times.iter().map(|round| round[OLD] / round[by]).collect() };
        let (ratios, control) = (ratios(NEW), ratios(AGAIN));
        let milliseconds = |who: usize| 1e3 * median(&times.iter().map(|round| round[who]).collect::<Vec<_>>());
        let text = |bound: Option<f64>| bound.map_or("-".to_string(), |bound| format!("{bound:.3}"));
        let [low, control_low] = [lower_bound(&ratios), lower_bound(&control)];
        println!(
            "{name:<12} {:>12.4} {:>12.4} {:>8.3} {:>8}   {:.3} {}",
            milliseconds(OLD),
            milliseconds(NEW),
            median(&ratios),
            text(low),
            median(&control),
            text(control_low)
        );
        rows.push(json!({
            "workload": name,
            "old_ms": milliseconds(OLD),
            "new_ms": milliseconds(NEW),
            "ratio": median(&ratios),
            "lower_95": low,
            "old_by_old": median(&control),
            "old_by_old_lower_95": control_low,
            "ratios": ratios,
            "old_by_old_ratios": control,
        }));
    }
    if options.json {
        println!("{}", json!({ "commit": options.commit, "rounds": options.rounds, "workloads": Value::Array(rows) }));
    }
    Ok(())
}

/// The seconds a step of each round, by who took them.
type Times = Vec<[f64; 3]>;

fn turns(options: &Compare, name: &str) -> Outcome<Times> {
    let mut workers = Vec::new();
    for program in [&options.old, &options.new, &options.old] {
        let mut worker = Worker::spawn(program, name)?;
        worker.answer()?;
        workers.push(worker);
    }
    // Everybody takes as many steps; the fastest tells how many, so that a turn is long enough for all.
    let mut pace = f64::INFINITY;
    for worker in &mut workers {
        worker.run(1)?;
        pace = pace.min(worker.run(3)? / 3.0);
    }
    let steps = (TURN / pace.max(1e-9)).ceil().max(1.0) as u64;
    let mut times = Times::new();
    for round in 0..usize::from(options.rounds) {
        let mut seconds = [0.0; 3];
        // There and back: a machine that gets slower or faster within a round does so for all.
        let order = order(round);
        for who in order.into_iter().chain(order.into_iter().rev()) {
            let worker = &mut workers[who];
            // Some to bring its data back into the caches.
            worker.run(steps.div_ceil(8))?;
            seconds[who] += worker.run(steps)? / (2 * steps) as f64;
        }
        times.push(seconds);
    }
    Ok(times)
}

/// From the start of a process to the end of its first step.
fn first_steps(options: &Compare) -> Outcome<Times> {
    let mut times = Times::new();
    for round in 0..usize::from(options.rounds) {
        let mut seconds = [0.0; 3];
        for who in order(round) {
            let begun = Instant::now();
            Worker::spawn(if who == NEW { &options.new } else { &options.old }, FIRST_STEP)?.answer()?;
            seconds[who] = begun.elapsed().as_secs_f64();
        }
        times.push(seconds);
    }
    Ok(times)
}

/// Another order every round, so that nobody always runs after the same neighbour.
fn order(round: usize) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [
        [OLD, NEW, AGAIN],
        [NEW, AGAIN, OLD],
        [AGAIN, OLD, NEW],
        [AGAIN, NEW, OLD],
        [NEW, OLD, AGAIN],
        [OLD, AGAIN, NEW],
    ];
    ORDERS[round % ORDERS.len()]
}
