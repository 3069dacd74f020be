//! What a driver's shader compiler makes of strait's hardware tiles, as a table: see README.md.

mod assembly;
mod driver;
mod shader;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use assembly::Turn;
use driver::{Compiled, Driver};
use strait::internals::kernel::{Schedule, Tile, reflect};
use strait::internals::plan::{AdapterKind, Limits, Product, Recording, Target};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: compilers [--out FOLDER]";

/// Rows, columns and steps of the products: so many that no kernel is a special case.
const EXTENT: usize = 1024;

/// What the table tells; README.md says what each of them is.
const COLUMNS: [&str; 14] = [
    "tile",
    "flags",
    "threads of a subgroup",
    "VGPRs",
    "SGPRs",
    "spilled",
    "code, bytes",
    "workgroup memory, bytes",
    "subgroups a SIMD",
    "workgroups a compute unit",
    "multiply-adds a turn",
    "instructions each",
    "bytes of workgroup memory each (tile)",
    "bytes of buffers each (tile)",
];

fn main() -> ExitCode {
    match table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compilers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table.
fn table() -> Result<()> {
    let out = out()?;
    if let Some(folder) = &out {
        std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    }
    let driver = Driver::open()?;
    println!("{}\n", driver.name);
    println!("| {} |\n|{}", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len()));
    for tile in Tile::ALL.into_iter().filter(|&tile| usable(tile, &driver)) {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let half = matches!(tile, Tile::Cooperative { .. });
            let product = Product { rows: EXTENT, inner: EXTENT, columns: EXTENT, ta, tb, half };
            let (compiled, threads) = compiled(tile, product, &driver)?;
            let flags = [ta, tb].map(|transposed| if transposed { 'T' } else { 'N' }).iter().collect::<String>();
            println!("{}", row(tile, &flags, &compiled, resident(&driver, &compiled, threads)));
            if let Some(folder) = &out {
                keep(folder, &format!("{tile} {flags}").replace(' ', "-"), &compiled)?;
            }
        }
    }
    Ok(())
}

/// Writes all that the driver tells of a kernel.
fn keep(folder: &Path, name: &str, compiled: &Compiled) -> Result<()> {
    let statistics: String = compiled.statistics.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    for (kind, text) in [("txt", &statistics), ("s", &compiled.assembly)] {
        let path = folder.join(format!("{name}.{kind}"));
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}

/// The folder for what the driver tells of every kernel.
fn out() -> Result<Option<PathBuf>> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(None),
        (Some(option), Some(folder), None) if option == "--out" => Ok(Some(folder.into())),
        _ => Err(USAGE.into()),
    }
}

/// Whether the tile is for hardware and the driver's compiler has what it needs.
fn usable(tile: Tile, driver: &Driver) -> bool {
    match tile {
        Tile::Registers { .. } | Tile::Subgroup { .. } => false,
        Tile::Shared { .. } => true,
        Tile::Cooperative { side, subgroup } => {
            driver.matrices.contains(&(side as u32)) && driver.subgroups.contains(&(subgroup as u32))
        }
    }
}

/// The kernel of a product alone, compiled, and the threads of its workgroups.
fn compiled(tile: Tile, product: Product, driver: &Driver) -> Result<(Compiled, u32)> {
    let (limits, subgroup) = match tile {
        Tile::Cooperative { side, subgroup } => {
            let (cooperative, subgroup) = (side as u32, subgroup as u32);
            (Limits { f16: true, cooperative, subgroup, ..Limits::DEFAULT }, Some(subgroup))
        }
        _ => (Limits::DEFAULT, None),
    };
    let kind = AdapterKind::Hardware;
    let target =
        Target { kind, limits, rows: 1, data_rows: 0, tile: Some(tile), tuning: None, quick: false, optimise: true };
    let recording = Recording::new(&product.graph()?, target)?;
    let multiplies = |schedule: &Schedule| matches!(schedule, Schedule::MatMul { tile: found, .. } if *found == tile);
    let dispatch = recording.dispatches.iter().find(|dispatch| dispatch.schedules.iter().any(multiplies));
    let dispatch = dispatch.ok_or_else(|| format!("the plan of {product} has no product by {tile}"))?;
    let kernel = reflect(&dispatch.label, &dispatch.wgsl)?;
    let compiled = driver.compile(&kernel, &shader::spirv(&kernel, driver.robust)?, subgroup)?;
    Ok((compiled, kernel.workgroup.iter().product()))
}

/// A line of the table; what the driver does not tell is a dash. Statistics have the names that RADV gives them.
fn row(tile: Tile, flags: &str, compiled: &Compiled, resident: Option<u32>) -> String {
    let shown = |value: Option<f64>| value.map_or(DASH.into(), |value| value.to_string());
    let told = |name| compiled.statistic(name);
    let spilled = told("Spilled VGPRs").zip(told("Spilled SGPRs")).map(|(vector, scalar)| vector + scalar);
    let registers = [told("VGPRs"), told("SGPRs"), spilled];
    let others = ["Code size", "LDS size", "Subgroups per SIMD"].map(told);
    let mut cells = vec![tile.to_string(), flags.into(), compiled.subgroup.to_string()];
    cells.extend(registers.into_iter().chain(others).map(shown));
    cells.push(resident.map_or(DASH.into(), |workgroups| workgroups.to_string()));
    cells.extend(match Turn::of(&compiled.assembly) {
        Some(turn) => {
            // A product of matrices is shared by the threads of a subgroup.
            let matrix = match tile {
                Tile::Cooperative { side, subgroup } => side * side * side / subgroup,
                _ => 0,
            };
            let work = turn.multiply_adds + turn.matrix_products * matrix;
            let each = |count: usize| format!("{:.3}", count as f64 / work as f64);
            let beside = |count, ideal: Option<f64>| match ideal {
                Some(ideal) => format!("{} ({ideal:.3})", each(count)),
                None => each(count),
            };
            let (local, buffers) = ideal(tile).unzip();
            let instructions = each(turn.instructions);
            [work.to_string(), instructions, beside(turn.local_bytes, local), beside(turn.buffer_bytes, buffers)]
        }
        None => std::array::from_fn(|_| DASH.into()),
    });
    format!("| {} |", cells.join(" | "))
}

const DASH: &str = "–";

/// Workgroups of so many threads that a compute unit of AMD's holds at a time: by the 64 KiB of its workgroup memory, and
/// by the subgroups that registers leave room for on its SIMDs, two in the RDNA families and four in those before.
fn resident(driver: &Driver, compiled: &Compiled, threads: u32) -> Option<u32> {
    let simds = if ["NAVI", "GFX1"].iter().any(|family| driver.name.contains(family)) { 2 } else { 4 };
    let memory = (64 << 10) / (compiled.statistic("LDS size")? as u32).max(1);
    let subgroups = simds * compiled.statistic("Subgroups per SIMD")? as u32;
    Some(memory.min(subgroups / threads.div_ceil(compiled.subgroup)))
}

/// The bytes that a thread must read from workgroup memory, and from buffers, for each of its multiply-adds.
///
/// In a step of the inner dimension a thread reads `rows / 4` and `quads` quads of 16 bytes and makes `4 rows quads`
/// multiply-adds of them; a slice of `side`² threads fetches `rows side` and `4 quads side` values of 4 bytes.
fn ideal(tile: Tile) -> Option<(f64, f64)> {
    let Tile::Shared { rows, quads, side } = tile else { return None };
    let products = (4 * rows * quads) as f64;
    let local = (16 * (rows / 4 + quads)) as f64 / products;
    let buffers = (4 * (rows + 4 * quads) * side) as f64 / (products * (side * side) as f64);
    Some((local, buffers))
}
