//! Rows of small square images in titled columns, and histograms.

use std::path::Path;

use image::RgbImage;
use image::imageops::{FilterType, replace, resize};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::outcome::Outcome;
use super::picture::{GRID, INK, MARGIN, PAPER, TEXT, TITLE, extent, font, grey, save, signed};

/// Between two images.
const GAP: u32 = 12;
/// Between two groups of columns.
const GROUP_GAP: u32 = 64;

/// How values become colours.
#[derive(Clone, Copy)]
pub enum Ink {
    /// 0 is white, 1 black.
    Grey,
    /// Each image to its own scale: red is positive, blue negative.
    Signed,
}

/// Columns under one title.
pub struct Group<'a> {
    /// What is written above them.
    pub title: &'a str,
    /// How values become colours.
    pub ink: Ink,
    /// For each row its images, one after the other: as many in every row.
    pub rows: Vec<Vec<f32>>,
}

/// Draws groups of images of `side` x `side` pixels side by side into a PNG, each about `size` pixels wide; `note`
/// stands below.
pub fn panel(path: &Path, title: &str, note: &str, (side, size): (u32, u32), groups: &[Group]) -> Outcome {
    let size = (size / side).max(1) * side;
    let pixels = (side * side) as usize;
    let across = |group: &Group| group.rows.first().map_or(0, |row| row.len() / pixels) as u32;
    let lines = groups.iter().map(|g| g.rows.len()).max().unwrap_or(0) as u32;
    let inner: u32 = groups.iter().map(|g| across(g) * (size + GAP) - GAP + GROUP_GAP).sum::<u32>() - GROUP_GAP;
    let top = MARGIN + TITLE + TEXT + 3 * GAP;
    let (width, height) = (inner + 2 * MARGIN, top + lines * (size + GAP) + TEXT + MARGIN + GAP);
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let mut left = MARGIN;
    let mut titles = Vec::new();
    for group in groups {
        for (row, images) in (0..).zip(&group.rows) {
            for (column, values) in (0..).zip(images.chunks(pixels)) {
                let largest = values.iter().fold(f32::MIN_POSITIVE, |l, v| l.max(v.abs()));
                let small = RgbImage::from_fn(side, side, |x, y| {
                    let value = values[(y * side + x) as usize];
                    match group.ink {
                        Ink::Grey => grey(value),
                        Ink::Signed => signed(value / largest),
                    }
                });
                let image = resize(&small, size, size, FilterType::Nearest);
                let (x, y) = (left + column * (size + GAP), top + row * (size + GAP));
                replace(&mut picture, &image, x.into(), y.into());
            }
        }
        titles.push((group.title, left));
        left += across(group) * (size + GAP) - GAP + GROUP_GAP;
    }
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let write = |text: &str, size: u32, x: u32, y: u32| -> Outcome {
        let style = font(size)?.pos(Pos::new(HPos::Left, VPos::Center));
        Ok(area.draw(&Text::new(text.to_string(), (x as i32, y as i32), style))?)
    };
    write(title, TITLE, MARGIN, MARGIN + TITLE / 4)?;
    for (title, x) in titles {
        write(title, TEXT, x, top - GAP - TEXT / 2)?;
    }
    write(note, TEXT - 6, MARGIN, height - MARGIN)?;
    area.present()?;
    drop(area);
    save(&picture, path)
}

/// Values under one name, with their colour.
pub struct Values<'a> {
    /// What the legend says.
    pub name: &'a str,
    /// Red, green and blue.
    pub color: RGBColor,
    /// The values; all above 0.
    pub values: &'a [f64],
}

/// Draws histograms over a logarithmic axis, in shares of the values, into a PNG; a line marks 1.
pub fn histogram(path: &Path, title: &str, axis: &str, all: &[Values]) -> Outcome {
    const PER_DECADE: f64 = 8.0;
    let (width, height) = (1600, 900);
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let logs = |v: &Values| v.values.iter().map(|v| v.max(1e-30).log10()).collect::<Vec<f64>>();
    let (low, high) = all.iter().flat_map(logs).fold((0f64, 0f64), |(l, h), v| (l.min(v), h.max(v)));
    // What is smaller than a hundred thousandth is drawn at that.
    let low = low.max(-5.0).floor();
    let high = (high * PER_DECADE + 1.0).ceil() / PER_DECADE;
    let bins = ((high - low) * PER_DECADE).round() as usize;
    let count = |v: &Values| {
        let mut bars = vec![0.0; bins];
        for log in logs(v) {
            let at = (((log - low) * PER_DECADE).max(0.0) as usize).min(bins - 1);
            bars[at] += 100.0 / v.values.len() as f64;
        }
        bars
    };
    let bars: Vec<Vec<f64>> = all.iter().map(count).collect();
    // The legend lies above all bars.
    let most = extent(bars.iter().flatten().copied().chain([0.0])).end * 1.3;
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(title, font(TITLE)?)
        .x_label_area_size(90)
        .y_label_area_size(130)
        .build_cartesian_2d(low..high, 0.0..most)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(TEXT - 4)?)
        .axis_desc_style(font(TEXT)?)
        .x_labels((high - low) as usize + 1)
        .x_label_formatter(&|log| format!("{}", 10f64.powi(log.round() as i32)))
        .x_desc(axis)
        .y_label_formatter(&|share| format!("{share:.0}"))
        .y_desc("% of the values")
        .draw()?;
    for (values, bars) in all.iter().zip(&bars) {
        let color = values.color;
        let edge = |i: usize| low + i as f64 / PER_DECADE;
        let bar = |(i, &share): (usize, &f64)| {
            Rectangle::new([(edge(i), 0.0), (edge(i + 1), share)], color.mix(0.45).filled())
        };
        chart
            .draw_series(bars.iter().enumerate().map(bar))?
            .label(values.name)
            .legend(move |(x, y)| Rectangle::new([(x - 8, y - 10), (x + 14, y + 12)], color.mix(0.45).filled()));
    }
    chart.draw_series(LineSeries::new([(0.0, 0.0), (0.0, most)], INK.stroke_width(2)))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(font(TEXT)?)
        .background_style(WHITE)
        .border_style(GRID)
        .margin(24)
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}
