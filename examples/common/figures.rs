//! What is told of figures that several seeds gave.

/// The mean of some figures and their standard deviation; of one figure that is 0.
pub fn moments(figures: &[f64]) -> [f64; 2] {
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let squares = figures.iter().map(|figure| (figure - mean).powi(2)).sum::<f64>();
    [mean, (squares / (count - 1.0).max(1.0)).sqrt()]
}
