//! The picture: what was reached of both ceilings, by how much arithmetic each byte gets.

use std::path::Path;

use image::RgbImage;
use plotters::prelude::*;

use super::figure::{Figure, Report, Run};
use super::outcome::Outcome;
use super::picture::{INK, LINE, MARGIN, PAPER, TEXT, TITLE, font, save};

/// The colour of training steps.
const STEPS: RGBColor = RGBColor(216, 67, 21);

/// A figure's place: operations for each byte, and Gflop/s.
fn point(figure: &Figure) -> Option<(f64, f64)> {
    let known = figure.seconds > 0.0 && figure.flops > 0 && figure.bytes > 0;
    known.then(|| (figure.flops as f64 / figure.bytes as f64, figure.flops as f64 / figure.seconds / 1e9))
}

/// Draws the first adapter's figures below its ceilings, both axes logarithmic.
pub fn draw(path: &Path, report: &Report) -> Outcome {
    let Some(run) = report.adapters.first() else { return Ok(()) };
    let points: Vec<(&Figure, (f64, f64))> = run.figures.iter().filter_map(|f| Some((f, point(f)?))).collect();
    let ridge = run.flops / run.bytes;
    let xs = points.iter().map(|(_, p)| p.0).chain([ridge]);
    let (left, right) = (xs.clone().fold(f64::MAX, f64::min) / 2.0, xs.fold(0.0, f64::max) * 2.0);
    let top = run.flops / 1e9;
    let low = points.iter().map(|(_, p)| p.1).fold(top / 100.0, f64::min) / 2.0;
    let (width, height) = (1600, 1000);
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(format!("{}: {} Gflop/s, {:.0} GB/s", name(run), top.round(), run.bytes / 1e9), font(TITLE - 6)?)
        .x_label_area_size(90)
        .y_label_area_size(130)
        .build_cartesian_2d((left..right).log_scale(), (low..top * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("operations for each byte that must be moved")
        .y_desc("Gflop/s")
        .label_style(font(TEXT - 10)?)
        .axis_desc_style(font(TEXT - 4)?)
        .draw()?;
    let roof = [left, ridge, right].map(|x| (x, (x * run.bytes / 1e9).min(top)));
    chart.draw_series(LineSeries::new(roof, INK.stroke_width(4)))?;
    let of = |group: &str| -> Vec<&(&Figure, (f64, f64))> {
        points.iter().filter(|(figure, _)| figure.group == group && !figure.name.ends_with(", tuned")).collect()
    };
    chart.draw_series(of("products").iter().map(|(_, p)| Circle::new(*p, 8, LINE.filled())))?;
    let steps = of("training steps");
    chart.draw_series(steps.iter().map(|(_, p)| Circle::new(*p, 8, STEPS.filled())))?;
    // Training steps have numbers, since their names would hide one another.
    for (i, (_, (x, y))) in steps.iter().enumerate() {
        let up = if i % 2 == 0 { 1.12 } else { 0.82 };
        chart.draw_series([Text::new((i + 1).to_string(), (*x * 0.985, *y * up), font(TEXT - 10)?)])?;
    }
    let legend = |line: usize, text: String, colour: RGBColor| -> Outcome {
        let y = (height - 200 - 34 * (steps.len() as u32 + 1) + 34 * line as u32) as i32;
        area.draw(&Circle::new((width as i32 - 640, y + 12), 8, colour.filled()))?;
        Ok(area.draw(&Text::new(text, (width as i32 - 620, y), font(TEXT - 8)?))?)
    };
    legend(0, "matrix products".into(), LINE)?;
    for (i, (figure, _)) in steps.iter().enumerate() {
        legend(i + 1, format!("{}  {}", i + 1, figure.name), STEPS)?;
    }
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}

/// The adapter's name without what it says in brackets.
fn name(run: &Run) -> &str {
    run.adapter.split(" (").next().unwrap_or(&run.adapter)
}
