//! scratch
use strait::evaluator::Evaluator;
use strait::graph::*;
use strait::state::State;
use strait::{Gpu, plan::Target};
fn main() -> strait::Result<()> {
    let gpu = Gpu::new()?;
    for (rows, cols) in [(128usize, 256usize), (128, 784), (1024, 784)] {
        for f in [0, 1, 2] {
            let mut g = Graph::new(vec![], vec![]);
            let x = if f == 0 { g.input(0, cols) } else { g.gather(cols, f == 2) };
            let y = g.map([x], |[x]| x + 1.0)?;
            g.sink(Sink::Output(0), y);
            let e = Evaluator::with_target(&gpu, &g, Target { data_rows: 2000, ..Target::of(&gpu, rows) })?;
            e.run(State { rows: rows as u32, count: 2000, batch: rows as u32, ..State::default() })?;
            let mut best = vec![f64::MAX; 9];
            let mut labels = vec![];
            for _ in 0..30 {
                let t = e.timed()?;
                labels = t.iter().map(|t| t.label.clone()).collect();
                for (b, t) in best.iter_mut().zip(&t) {
                    *b = b.min(t.seconds * 1e3);
                }
            }
            for (l, b) in labels.iter().zip(&best) {
                print!("{rows} {cols} {f} {l:30} {b:.3} ms   ");
            }
            println!();
        }
    }
    Ok(())
}
