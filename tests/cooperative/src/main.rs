//! How fast products in half precision are by cooperative matrices, beside the other tiles: `cargo run --release`.

#[path = "../../../examples/common/ceiling.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod ceiling;
mod device;
#[path = "../../../examples/common/product.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod product;

use strait::internals::plan::{Product, Target};

fn main() -> strait::Result<()> {
    let gpu = device::gpu();
    let tile = device::cooperative(&gpu);
    println!("{}, {}: {tile}", gpu.adapter().name, gpu.adapter().driver);
    let clock = ceiling::Clock::new(&gpu)?;
    let sizes = if gpu.adapter().software { [128, 256, 512] } else { [1024, 2048, 4096] };
    for n in sizes {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let product = Product { rows: n, inner: n, columns: n, ta, tb, half: true };
            for tile in [Some(tile), None] {
                let found = product::timed(&gpu, &clock, product, tile)?;
                let rate = product.flops() as f64 / found.seconds / 1e9;
                println!("{product:<26} {:<28} {rate:>10.0} Gflop/s", found.tile.to_string());
            }
        }
    }
    println!("{:?}", Target::of(&gpu, 1).limits);
    Ok(())
}
