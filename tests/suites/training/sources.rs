//! Data whose shape changes while it is used: an error that says so, or what the first shape gives; never a panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use strait::analysis::Pca;
use strait::{EarlyStopping, Error, Source};

/// Says another shape from some call on.
struct Changing {
    before: [usize; 2],
    after: [usize; 2],
    /// Calls that are answered with the first shape.
    left: AtomicUsize,
}

impl Changing {
    fn shape(&self) -> [usize; 2] {
        let left = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { self.before } else { self.after }
    }
}

impl Source for Changing {
    fn rows(&self) -> usize {
        self.shape()[0]
    }
    fn columns(&self) -> usize {
        self.shape()[1]
    }
    fn read(&self, first_row: usize, out: &mut [f32]) -> strait::Result<()> {
        out.iter_mut().enumerate().for_each(|(i, v)| *v = ((first_row * 3 + i) % 7) as f32 / 7.0);
        Ok(())
    }
    fn name(&self) -> &str {
        "changing"
    }
}

fn changing(after: [usize; 2], left: usize) -> Changing {
    Changing { before: [23, 3], after, left: AtomicUsize::new(left) }
}

const AFTER: [[usize; 2]; 6] = [[46, 3], [22, 3], [0, 3], [usize::MAX, 3], [23, 0], [23, 5]];

/// Fails unless a result is an error about the shape, or fine. True where it is an error.
fn told<T: std::fmt::Debug>(result: strait::Result<T>, what: &str) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::Data { place, .. }) if place.starts_with("changing: ") => true,
        Err(other) => panic!("{what}: {other:?}"),
    }
}

#[test]
fn data_that_changes_is_an_error_wherever_it_changes() {
    let early = Some(EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 });
    let mut errors = 0;
    for after in AFTER {
        // With no call left it is another shape from the beginning; nobody reads so many rows to their end.
        let calls = [0, 1, 2, 3, 5, 8, 20].into_iter().filter(|left| *left > 0 || after[0] < 100);
        for left in calls {
            let what = format!("{after:?} from call {left} on");
            for (data_budget, early_stopping) in [(1 << 20, None), (8 * 12, early)] {
                let training = Training { batch: 4, epochs: 2, data_budget, early_stopping, ..Training::default() };
                let spec = tiny().scaling(strait::Scaling::Unit);
                let mut found = session(&gpu(), &spec, training);
                let source: Arc<dyn Source> = Arc::new(changing(after, left));
                errors += usize::from(told(found.fit(source).map(|_| ()), &what));
                // Whatever became of it, the session works.
                found.fit(rows(23)).unwrap();
                let source: Arc<dyn Source> = Arc::new(changing(after, left));
                errors += usize::from(told(found.evaluate(source), &what));
            }
            let pca = Pca::fit(&gpu(), &changing(after, left), 2);
            if let Err(Error::Spec { field, .. }) = &pca {
                assert!(field == "count" && after[1] == 0 && left < 2, "{what}");
                continue;
            }
            if let Ok(pca) = &pca {
                errors += usize::from(told(pca.mse(&changing(after, left)), &what));
            }
            errors += usize::from(told(pca, &what));
        }
    }
    assert!(errors > 40, "{errors}: nothing was at stake");
}

#[test]
fn a_chunk_of_data_that_has_changed_is_refused_while_stepping() {
    let training = Training { batch: 4, epochs: 100, data_budget: 8 * 12, ..Training::default() };
    for after in AFTER {
        let mut found = session(&gpu(), &tiny(), training);
        let source = Arc::new(changing(after, usize::MAX));
        found.load(source.clone() as Arc<dyn Source>).unwrap();
        take(&mut found, 3, 1);
        source.left.store(0, Relaxed);
        // Two chunks at most are on the device or on their way.
        let refused = (0..9).find_map(|_| {
            let result = found.step(1).map(|_| ());
            if result.is_ok() {
                report(&mut found);
            }
            result.err()
        });
        assert!(told(Err::<(), _>(refused.expect("a chunk was read")), &format!("{after:?}")));
    }
}
