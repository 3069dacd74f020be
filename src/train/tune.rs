//! Measuring: how long each matrix product of a training step takes with the tiles that the adapter can use. Nothing
//! is timed unless it is asked for here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::Session;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Program, Timed, Wait, Work};
use crate::kernel::Tile;
use crate::model::Purpose;
use crate::plan::{Product, Recording, Target, Tuning, sharing};
use crate::state::State;

/// How often each tile is timed, where the budget lasts.
const ROUNDS: usize = 5;

/// How often it must be for the times to tell anything.
const ENOUGH: usize = 3;

/// Tiles that the formula puts at more than this many times the cheapest are not tried.
const FAR: usize = 2;

/// A tile takes the place of the default where its time is at most this part of the default's: what is closer is as
/// likely chance, and every further tile is a further kernel to compile.
const CLEARLY: f64 = 0.97;

/// How long one product took with each tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The product.
    pub product: Product,
    /// The tile of the table of defaults.
    pub default: Tile,
    /// The tiles that were tried, the fastest first, each with the median of its times in seconds.
    pub times: Vec<(Tile, f64)>,
}

impl Trial {
    /// The tile to use: the fastest, or the default where that is all but as fast.
    pub fn chosen(&self) -> Tile {
        match (self.times.first(), self.seconds(self.default)) {
            (Some(&(fastest, seconds)), Some(default)) if seconds <= default * CLEARLY => fastest,
            _ => self.default,
        }
    }

    /// Seconds with a tile, if it was tried.
    pub fn seconds(&self, tile: Tile) -> Option<f64> {
        self.times.iter().find(|(tried, _)| *tried == tile).map(|(_, seconds)| *seconds)
    }
}

/// What [`Session::tune`] measured, product by product, the most expensive first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trials(#[doc(hidden)] pub Vec<Trial>);

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {:<18} {:>9}  {:<18} {:>9}  tried", "product", "default", "ms", "chosen", "ms")?;
        for trial in &self.0 {
            let (product, count) = (trial.product.to_string(), trial.times.len());
            write!(f, "{product:<20}")?;
            for tile in [trial.default, trial.chosen()] {
                let milliseconds = trial.seconds(tile).map(|s| format!("{:.3}", s * 1e3)).unwrap_or_default();
                write!(f, " {:<18} {milliseconds:>9} ", tile.to_string())?;
            }
            writeln!(f, " {count}")?;
        }
        Ok(())
    }
}

impl Session {
    /// Times the matrix products of a training step, each alone, with the tiles that this adapter can use, and keeps
    /// the fastest of each: see [`Session::use_tuning`], also for what happens where data is loaded. Products that the
    /// session's tuning names already are left out. The most expensive come first; once the budget (200 ms are a good
    /// one for a GPU; software adapters compile for some seconds) is spent, compiling included, nothing more is begun,
    /// and the products that were not reached keep their tiles. Times are the device's own where it writes timestamps,
    /// else the host's.
    ///
    /// The step is the one that [`Session::load`] made, or one of as many rows as the options ask for where no data is
    /// loaded. Steps under way come to their end first.
    ///
    /// On software adapters all tiles give the same bits. On others they need not, so a run is only repeated to the bit
    /// with the same tuning: checkpoints hold it.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use strait::{Activation, Gpu, Session, Spec, Training, data};
    /// # let mut session =
    /// #     Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), Training::default())?;
    /// println!("{}", session.tune(Duration::from_millis(200))?);
    /// session.fit(data::digits()?)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Limit`] where the step does not fit the adapter; [`Error::Diverged`] where one of the steps under way
    /// went bad; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn tune(&mut self, budget: Duration) -> Result<Trials> {
        self.gpu().alive()?;
        let begun = Instant::now();
        let left = || budget.saturating_sub(begun.elapsed());
        pollster::block_on(self.course.settle(Wait::Block))?;
        let mut trials = Vec::new();
        for (product, default) in self.untuned()? {
            if left().is_zero() {
                break;
            }
            trials.extend(trial(self.gpu(), product, default, &left)?);
        }
        if !trials.is_empty() {
            let mut tuning = Tuning::clone(&self.tuning());
            tuning.tiles.extend(trials.iter().map(|trial| (trial.product, trial.chosen())));
            self.use_tuning(tuning)?;
        }
        Ok(Trials(trials))
    }

    /// The products of a training step that the tuning does not name, the most expensive first, with their tiles.
    fn untuned(&self) -> Result<Vec<(Product, Tile)>> {
        let (target, graph) = match &self.course.engine {
            Some(engine) => (engine.rows.target_of(&self.model), self.training_graph(&engine.rows)?),
            None => {
                let graph = self.network.graph(Purpose::Train, self.training.shuffle)?;
                (self.target(self.training.batch), graph)
            }
        };
        let mut flops: BTreeMap<Product, (u64, Tile)> = BTreeMap::new();
        for (product, tile) in Recording::new(&graph, target)?.products() {
            let (sum, _) = flops.entry(product).or_insert((0, tile));
            *sum = sum.saturating_add(product.flops());
        }
        flops.retain(|product, _| !self.tuning().tiles.contains_key(product));
        let mut products: Vec<(Product, (u64, Tile))> = flops.into_iter().collect();
        products.sort_by_key(|&(_, (flops, _))| Reverse(flops));
        Ok(products.into_iter().map(|(product, (_, tile))| (product, tile)).collect())
    }
}

/// Times a product with its default tile and others, in turns; nothing where there are no others, where the time left
/// does not suffice for two, or where the product's factors and result do not fit the device once more.
fn trial(gpu: &Gpu, product: Product, default: Tile, left: &impl Fn() -> Duration) -> Result<Option<Trial>> {
    let tiles = candidates(gpu, &product, default);
    if tiles.len() < 2 {
        return Ok(None);
    }
    let graph = product.graph()?;
    let state = gpu.buffer("state", 64)?;
    gpu.write(&state, 0, bytemuck::bytes_of(&State::once(1, 0)))?;
    // Half of the time for compiling, so that some is left for measuring.
    let half = left() / 2;
    let mut programs: Vec<(Tile, Program)> = Vec::new();
    for tile in tiles {
        if left() <= half {
            break;
        }
        // All work on the same values, but what passes between dispatches is of another size where sums are left in parts.
        let mut shared = programs.first().map(|(_, first)| first.buffers().clone()).unwrap_or_default();
        shared.retain(|role, _| !role.is_slot());
        let recording = Recording::new(&graph, target(gpu, &product, tile));
        let program = recording.and_then(|r| Program::new(gpu, &r, &state, &shared));
        let program = match program {
            Err(Error::Limit { .. }) => return Ok(None),
            program => program?,
        };
        // Drivers may compile when a kernel first runs.
        gpu.submit([Work::Run(&program)])?;
        gpu.wait()?;
        programs.push((tile, program));
    }
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    'rounds: for _ in 0..ROUNDS {
        let mut round = Vec::with_capacity(programs.len());
        for (_, program) in &programs {
            if left().is_zero() {
                break 'rounds;
            }
            round.push(seconds(gpu, program)?);
        }
        rounds.push(round);
    }
    if programs.len() < 2 || rounds.len() < ENOUGH {
        return Ok(None);
    }
    // A GPU's clock rises while it works, so times are compared within a round: with the default's, which comes first.
    let default_seconds = median(rounds.iter().map(|round| round[0]));
    let beside = |at: usize| default_seconds * median(rounds.iter().map(|round| round[at] / round[0].max(1e-12)));
    let mut times: Vec<(Tile, f64)> = programs.iter().enumerate().map(|(i, (tile, _))| (*tile, beside(i))).collect();
    times.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    Ok(Some(Trial { product, default, times }))
}

/// The tiles to try for a product: its default, then those that the formula, where there is one, puts not far from the
/// cheapest, in its order.
fn candidates(gpu: &Gpu, product: &Product, default: Tile) -> Vec<Tile> {
    let target = Target::of(gpu, 1);
    let &Product { rows, ta, tb, .. } = product;
    let cost = |tile: &Tile| {
        let hardware = || sharing(product, *tile, &target.limits).map(|(_, cost)| cost);
        tile.cost(rows, product.quads(), ta, tb).or_else(hardware)
    };
    let mut tiles: Vec<Tile> = target.tiles(product).collect();
    let cheapest = tiles.iter().filter_map(cost).min().unwrap_or_default();
    tiles.retain(|tile| *tile != default && cost(tile).is_none_or(|cost| cost <= cheapest.saturating_mul(FAR)));
    tiles.sort_by_key(cost);
    tiles.insert(0, default);
    tiles
}

/// What a product is planned for where it is alone. Gradients' products end as such a one does; others have more behind
/// them in a step and take the way through memory, as they do in plans that compile soon.
pub(super) fn target(gpu: &Gpu, product: &Product, tile: Tile) -> Target {
    Target { tile: Some(tile), quick: !product.ta, ..Target::of(gpu, 1) }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// How long a product keeps the device busy while it is measured: a GPU that is asked for a moment's work and then waits
/// for the host runs at a low clock.
const BUSY: f64 = 1e-3;
/// Runs that are measured together at most.
const TOGETHER: f64 = 64.0;

/// How long a program's product takes now, the median of some runs, or all of it where only the host's clock tells.
fn seconds(gpu: &Gpu, program: &Program) -> Result<f64> {
    if gpu.has_timestamps() {
        let product = |runs: usize| -> Result<f64> {
            let timed = gpu.timed(&vec![program; runs])?;
            // What comes before the product rounds its factors; what follows adds up parts of its sums.
            let own = |run: &[Timed]| run.iter().skip_while(|timed| timed.cost.flops == 0).map(|t| t.seconds).sum();
            Ok(median(timed.chunks(program.dispatches()).map(own)))
        };
        let first = product(1)?;
        let more = (BUSY / first.max(1e-9)).min(TOGETHER) as usize;
        return if more > 1 { product(more) } else { Ok(first) };
    }
    let begun = Instant::now();
    gpu.submit([Work::Run(program)])?;
    gpu.wait()?;
    Ok(begun.elapsed().as_secs_f64())
}
