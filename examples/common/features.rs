//! Whether what a model learned looks like something: figures for pictures of features and of reconstructions.

use strait::analysis::Neighbours;
use strait::{Data, Gpu};

/// The correlation of neighbouring pixels within square images of `side` x `side` values, one image after the other: over
/// all pairs of pixels that lie side by side or one above the other, mean over the images. Noise has about 0, strokes and
/// surfaces more. Images of one value have none and are left out.
pub fn neighbour_correlation(images: &[f32], side: usize) -> f64 {
    let of = |image: &[f32]| -> Option<f64> {
        let at = |i: usize| f64::from(image[i]);
        let beside = (0..side * side).filter(|i| i % side + 1 < side).map(|i| (at(i), at(i + 1)));
        let below = (0..side * (side - 1)).map(|i| (at(i), at(i + side)));
        let pairs: Vec<(f64, f64)> = beside.chain(below).collect();
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        let (a, b) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|p| of(p.0 - a, p.1 - b)).sum::<f64>();
        let spread = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
        (spread > 0.0).then(|| sum(&|a, b| a * b) / spread)
    };
    let each: Vec<f64> = images.chunks(side * side).filter_map(of).collect();
    each.iter().sum::<f64>() / each.len() as f64
}

/// How many of `images` most of their five nearest rows of `known` take for what they are by their label.
pub fn recognised(gpu: &Gpu, known: &Data, images: &Data) -> strait::Result<usize> {
    let nearest = Neighbours::among(gpu, known, images, 5.min(known.rows()))?;
    let (classes, labels) = (known.labels().unwrap_or_default(), images.labels().unwrap_or_default());
    let right = |(i, label): (usize, &u32)| {
        let votes = nearest.of(i).iter().filter(|&&row| classes.get(row) == Some(label)).count();
        2 * votes > nearest.count()
    };
    Ok(labels.iter().enumerate().filter(|&of| right(of)).count())
}
