//! The picture of a table: a panel for each axis, with the score of every entry over its value there.

use std::path::Path;

use image::RgbImage;
use plotters::prelude::*;
use strait::search::{Entry, Table};

use super::chart::COLOURS;
use super::outcome::Outcome;
use super::picture::{GRID, INK, MARGIN, PAPER, TEXT, TITLE, extent, font, save};

/// Pixels of a panel.
const PANEL: (u32, u32) = (760, 640);

/// Where an axis puts its values, and how it is labelled.
enum Scale {
    /// At themselves, or at their logarithms to the base of ten.
    Numbers { logarithms: bool },
    /// At their places among these.
    Choices(Vec<String>),
}

impl Scale {
    /// Of the values on an axis: logarithms where they are all above 0 and span more than a decade.
    fn of(values: &[&str]) -> Scale {
        let numbers: Vec<f64> = values.iter().filter_map(|value| value.parse().ok()).collect();
        if numbers.len() < values.len() {
            let mut choices: Vec<String> = values.iter().map(|value| value.to_string()).collect();
            choices.sort();
            choices.dedup();
            return Scale::Choices(choices);
        }
        let Some(least) = numbers.iter().copied().reduce(f64::min) else { return Scale::Numbers { logarithms: false } };
        Scale::Numbers { logarithms: least > 0.0 && numbers.iter().any(|&value| value > 30.0 * least) }
    }

    fn place(&self, value: &str) -> f64 {
        match self {
            Scale::Numbers { logarithms } => {
                let number: f64 = value.parse().unwrap_or(f64::NAN);
                if *logarithms { number.log10() } else { number }
            }
            Scale::Choices(choices) => {
                choices.iter().position(|choice| choice == value).map_or(f64::NAN, |at| at as f64)
            }
        }
    }

    /// The label at a place; none between two choices.
    fn label(&self, place: f64) -> String {
        match self {
            Scale::Numbers { logarithms: false } => format!("{}", (place * 1e4).round() / 1e4),
            Scale::Numbers { logarithms: true } => format!("{:.0e}", 10f64.powf(place)),
            Scale::Choices(choices) => {
                let near = place.round();
                let choice = choices.get(near as usize).filter(|_| near >= 0.0 && (place - near).abs() < 0.01);
                choice.cloned().unwrap_or_default()
            }
        }
    }
}

/// Draws a table into a PNG: smaller points are of earlier rungs, the best one has a ring. What cost more than five times as much
/// as the best stands at the upper edge.
pub fn save_table(path: &Path, table: &Table) -> Outcome {
    let axes = table.axes();
    let columns = axes.len().clamp(1, 2);
    let lines = axes.len().div_ceil(columns).max(1);
    let (width, height) = (columns as u32 * PANEL.0 + 2 * MARGIN, lines as u32 * PANEL.1 + 2 * MARGIN + 2 * TITLE);
    let scored: Vec<(&Entry, f64)> = table.entries().iter().filter_map(|entry| Some((entry, entry.score()?))).collect();
    let best = table.best();
    let most = best.and_then(Entry::score).map_or(f64::INFINITY, |score| score + 4.0 * score.abs());
    let up = extent(scored.iter().map(|(_, score)| score.min(most)));
    let room = 0.08 * (up.end - up.start);
    let last = scored.iter().map(|(entry, _)| entry.rung).max().unwrap_or(0);

    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut epochs: Vec<u64> = scored.iter().map(|(entry, _)| entry.candidate.training.epochs).collect();
    epochs.sort_unstable();
    epochs.dedup();
    let epochs: Vec<String> = epochs.iter().map(u64::to_string).collect();
    let title = format!("scores after {} epochs, larger points for more; lower is better", epochs.join(", "));
    let inner = area.margin(MARGIN, MARGIN, MARGIN, MARGIN).titled(&title, font(TITLE - 6)?)?;
    for (at, panel) in inner.split_evenly((lines, columns)).into_iter().enumerate().take(axes.len()) {
        let values: Vec<&str> = table.entries().iter().map(|entry| entry.values[at].as_str()).collect();
        let scale = Scale::of(&values);
        let across = extent(values.iter().map(|value| scale.place(value)));
        let side = 0.06 * (across.end - across.start).max(1e-9);
        let mut chart = ChartBuilder::on(&panel)
            .margin(16)
            .x_label_area_size(90)
            .y_label_area_size(110)
            .build_cartesian_2d(across.start - side..across.end + side, up.start - room..up.end + room)?;
        let labels = if let Scale::Choices(choices) = &scale { 2 * choices.len() + 1 } else { 5 };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(font(TEXT - 8)?)
            .axis_desc_style(font(TEXT - 4)?)
            .x_labels(labels)
            .y_labels(6)
            .x_label_formatter(&|place| scale.label(*place))
            .y_label_formatter(&|score| format!("{}", (score * 1e4).round() / 1e4))
            .x_desc(axes[at].as_str())
            .draw()?;
        for (entry, score) in &scored {
            let point = (scale.place(&entry.values[at]), score.min(most));
            let radius = 5 + 3 * entry.rung as i32;
            let colour = COLOURS[entry.rung % COLOURS.len()];
            chart.draw_series([Circle::new(point, radius, colour.mix(0.75).filled())])?;
            if best.is_some_and(|best| std::ptr::eq(best, *entry)) {
                chart.draw_series([Circle::new(point, 8 + 3 * last as i32, INK.stroke_width(3))])?;
            }
        }
    }
    area.present()?;
    drop(inner);
    drop(area);
    save(&picture, path)
}
