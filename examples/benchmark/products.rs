//! Matrix products, from small ones to the largest that fit time and memory.

use std::time::{Duration, Instant};

use strait::internals::kernel::Tile;
use strait::internals::plan::{Product, Recording, Target};
use strait::{Error, Gpu, Result};

use super::ceiling::Clock;
use super::figure::{Figure, Run, number};
use super::product::{EACH, Found, timed};

const GROUP: &str = "products";
const SIZES: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
const FLAGS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];
/// Those of a layer of 784 by 300 units in training: forward, the gradient of its input, that of its weights.
const LAYER: [(usize, usize, usize, bool, bool); 3] =
    [(150, 784, 300, false, false), (150, 300, 784, false, true), (784, 150, 300, true, false)];

/// A product of so many rows, inner steps and columns.
fn product(rows: usize, inner: usize, columns: usize, ta: bool, tb: bool) -> Product {
    Product { rows, inner, columns, ta, tb, half: false }
}

/// Square products with all flags, and a layer's; then, in what time is left, the best tile of each.
pub fn measure(gpu: &Gpu, clock: &Clock, deadline: Instant, run: &mut Run) -> Result<()> {
    let layer = LAYER.map(|(rows, inner, columns, ta, tb)| product(rows, inner, columns, ta, tb));
    let square = SIZES.into_iter().flat_map(|n| FLAGS.map(|(ta, tb)| product(n, n, n, ta, tb)));
    let all: Vec<Product> = layer.into_iter().chain(square).collect();
    let first = Instant::now() + deadline.saturating_duration_since(Instant::now()).mul_f64(0.6);
    let mut rate = f64::MAX;
    let mut measured = Vec::new();
    for &wanted in &all {
        // What has no room is named as such, whatever time it would take.
        if let Err(error @ Error::Limit { .. }) = Recording::new(&wanted.graph()?, Target::of(gpu, 1)) {
            run.left_out.push((wanted.to_string(), error.to_string()));
            continue;
        }
        // As fast as the last one, as often as a measurement takes at least.
        let needed = Duration::from_secs_f64((6.0 * wanted.flops() as f64 / rate).min(1e6));
        if Instant::now() + needed > first {
            run.left_out.push((wanted.to_string(), format!("it would take {needed:.0?} or more")));
            continue;
        }
        if let Some(found) = one(gpu, clock, wanted, None, run)? {
            rate = wanted.flops() as f64 / found.seconds;
            run.figures.push(figure(&wanted, &found, ""));
            measured.push((wanted, found));
        }
    }
    // The most expensive first, since their tiles matter most.
    for (wanted, default) in measured.into_iter().rev() {
        let mut best = None;
        for tile in Target::of(gpu, 1).tiles(&wanted).filter(|tile| *tile != default.tile) {
            // Some tiles take several times as long as that of the table of defaults.
            if Instant::now() + Duration::from_secs_f64(20.0 * default.seconds) + EACH > deadline {
                break;
            }
            let found = one(gpu, clock, wanted, Some(tile), run)?;
            best = found.into_iter().chain(best).min_by(|a: &Found, b| a.seconds.total_cmp(&b.seconds));
        }
        if let Some(best) = best.filter(|best| best.seconds < default.seconds) {
            run.figures.push(figure(&wanted, &best, ", tuned"));
        }
    }
    Ok(())
}

/// Every tile of some products, for whoever works on tiles.
pub fn every_tile(gpu: &Gpu, clock: &Clock, run: &mut Run) -> Result<()> {
    let layer = LAYER.map(|(rows, inner, columns, ta, tb)| product(rows, inner, columns, ta, tb));
    // Forward, the gradient of its input and that of its weights, for the widest layers of a deep model; and smaller ones.
    let deep = [
        (4096, 784, 1000, false, false),
        (4096, 1000, 500, false, false),
        (4096, 1000, 784, false, false),
        (4096, 1000, 784, false, true),
        (4096, 500, 1000, false, true),
        (784, 4096, 1000, true, false),
        (1000, 4096, 500, true, false),
        (128, 784, 1000, false, false),
        (1000, 128, 784, true, false),
        (16, 128, 64, false, false),
        (300, 150, 784, false, false),
    ];
    let deep = deep.map(|(rows, inner, columns, ta, tb)| product(rows, inner, columns, ta, tb));
    let square = [4096, 1024].into_iter().flat_map(|n| FLAGS.map(|(ta, tb)| product(n, n, n, ta, tb)));
    for wanted in deep.into_iter().chain(layer).chain(square) {
        let mut found = Vec::new();
        for tile in Target::of(gpu, 1).tiles(&wanted) {
            found.extend(one(gpu, clock, wanted, Some(tile), run)?);
        }
        found.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        for found in found {
            println!(
                "{:<24} {:<36} {:>12} microseconds {:>10} Gflop/s",
                wanted.to_string(),
                found.tile.to_string(),
                number(found.seconds * 1e6),
                number(wanted.flops() as f64 / found.seconds / 1e9)
            );
        }
    }
    Ok(())
}

fn figure(product: &Product, found: &Found, more: &str) -> Figure {
    let rate = product.flops() as f64 / found.seconds / 1e9;
    Figure::more(GROUP, format!("{product}{more}"), rate, "Gflop/s")
        .took(found.seconds, product.flops(), found.bytes)
        .note(found.tile.to_string())
}

/// Seconds of one product with a tile, or with that of the table of defaults; nothing where memory is short, which is said.
fn one(gpu: &Gpu, clock: &Clock, product: Product, tile: Option<Tile>, run: &mut Run) -> Result<Option<Found>> {
    match timed(gpu, clock, product, tile) {
        Ok(found) => Ok(Some(found)),
        Err(error @ (Error::Limit { .. } | Error::Device { .. })) => {
            run.left_out.push((product.to_string(), error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
