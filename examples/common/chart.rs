//! Pictures with axes: several lines, points by class, and grids of small images.

use std::path::Path;

use image::RgbImage;
use image::imageops::{FilterType, replace, resize};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::outcome::Outcome;
use super::picture::{Chart, GRID, INK, MARGIN, PAPER, TEXT, TITLE, extent, font, grey, mesh, number, save};

/// Ten colours that can be told apart, also by most people who see fewer.
pub const COLOURS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(110, 110, 110),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
];

/// A line of a chart.
pub struct Line {
    /// What the legend calls it.
    pub label: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// The points that have a place.
fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + Clone {
    points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite())
}

/// Draws lines, with a legend, into a PNG.
pub fn lines(path: &Path, title: &str, [x, y]: [&str; 2], lines: &[Line]) -> Outcome {
    let (width, height) = (1600, 1000);
    let all = || lines.iter().flat_map(|line| &line.points);
    let across = extent(all().map(|p| p.0).chain([0.0]));
    let up = extent(all().map(|p| p.1).chain([0.0]));
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(title, font(TITLE)?)
        .x_label_area_size(90)
        .y_label_area_size(120)
        .build_cartesian_2d(across, 1.05 * up.start..1.05 * up.end)?;
    mesh(&mut chart, x, y)?;
    for line in lines {
        let style = line.colour.stroke_width(4);
        if let [only] = finite(&line.points).collect::<Vec<_>>()[..] {
            chart.draw_series([Circle::new(only, 8, line.colour.filled())])?;
        }
        let drawn = match line.dashed {
            true => chart.draw_series(DashedLineSeries::new(finite(&line.points), 12, 10, style))?,
            false => chart.draw_series(LineSeries::new(finite(&line.points), style))?,
        };
        let dashed = line.dashed;
        drawn.label(&line.label).legend(move |(x, y)| {
            let half = if dashed { 25 } else { 50 };
            PathElement::new([(x, y), (x + half, y)], style)
        });
    }
    legend(&mut chart, 62)?;
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}

/// Draws points of several classes, with a legend, into a PNG: both axes have the same scale.
pub fn scatter(path: &Path, title: &str, [x, y]: [&str; 2], classes: &[(String, Vec<(f64, f64)>)]) -> Outcome {
    let side = 1300;
    let all = || classes.iter().flat_map(|class| &class.1);
    let most = extent(all().map(|p| p.0.abs().max(p.1.abs())).chain([0.0])).end * 1.05;
    // Many points would hide one another.
    let radius = if all().count() > 1000 { 4 } else { 7 };
    let mut picture = RgbImage::from_pixel(side, side, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (side, side)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(title, font(TITLE - 4)?)
        .x_label_area_size(90)
        .y_label_area_size(110)
        // Room for the legend on the right.
        .build_cartesian_2d(-most..1.25 * most, -most..most)?;
    mesh(&mut chart, x, y)?;
    for (class, colour) in classes.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.filled();
        let points = finite(&class.1).map(|p| Circle::new(p, radius, style));
        chart.draw_series(points)?.label(&class.0).legend(move |(x, y)| Circle::new((x + 12, y), 10, style));
    }
    legend(&mut chart, 36)?;
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}

/// Figures of one kind in a chart of several: where each is across, its mean, and its error.
pub struct Points {
    /// What the legend calls it.
    pub label: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Its figures.
    pub points: Vec<(f64, f64, f64)>,
}

/// Draws figures with their errors, with a legend, into a PNG: across are places 0, 1, ... of these names.
pub fn points(path: &Path, title: &str, y: &str, names: &[String], kinds: &[Points]) -> Outcome {
    let (width, height) = (1600, 1000);
    let all = || kinds.iter().flat_map(|kind| &kind.points);
    let up = extent(all().flat_map(|p| [p.1 - p.2, p.1 + p.2]).chain([0.0]));
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(title, font(TITLE)?)
        .x_label_area_size(90)
        .y_label_area_size(120)
        // Room for the legend on the right.
        .build_cartesian_2d(-0.6..names.len() as f64 - 0.05, 1.05 * up.start..1.15 * up.end)?;
    // Numbers across would mean nothing: places have names, and nothing is between them.
    let name = |place: &f64| {
        let at = place.round();
        let named = (place - at).abs() < 1e-6 && at >= 0.0;
        named.then(|| names.get(at as usize).cloned()).flatten().unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(TEXT - 4)?)
        .axis_desc_style(font(TEXT)?)
        .x_labels(names.len().max(1))
        .x_label_formatter(&name)
        .y_label_formatter(&number)
        .y_desc(y)
        .draw()?;
    for kind in kinds {
        let style = kind.colour.filled();
        let drawn = kind.points.iter().filter(|p| p.1.is_finite());
        let bar = |&(x, mean, error): &(f64, f64, f64)| {
            let ([low, high], style) = ([mean - error, mean + error], kind.colour.stroke_width(4));
            let cap = |y: f64| PathElement::new([(x - 0.03, y), (x + 0.03, y)], style);
            [PathElement::new([(x, low), (x, high)], style), cap(low), cap(high)]
        };
        chart.draw_series(drawn.clone().flat_map(bar))?;
        let circles = drawn.map(|&(x, mean, _)| Circle::new((x, mean), 9, style));
        chart.draw_series(circles)?.label(&kind.label).legend(move |(x, y)| Circle::new((x + 12, y), 10, style));
    }
    legend(&mut chart, 36)?;
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, area: i32) -> Outcome {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(area)
        .margin(20)
        .label_font(font(TEXT - 4)?)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .draw()?;
    Ok(())
}

/// Small square images side by side.
pub struct Tiles<'a> {
    /// What is written on top.
    pub title: &'a str,
    /// What is written below it.
    pub note: &'a str,
    /// Pixels of an image's side.
    pub side: u32,
    /// Images in a line.
    pub columns: u32,
    /// Pixels of an image's side in the picture, at most.
    pub size: u32,
    /// Pixels between two.
    pub gap: u32,
    /// Values from 0 to 1, one image after the other.
    pub images: &'a [f32],
    /// What is written below the columns and beside the lines, evenly spread; may be empty.
    pub ticks: [Vec<String>; 2],
    /// What the ticks are of.
    pub axes: [&'a str; 2],
}

impl Tiles<'_> {
    /// Draws them into a PNG.
    pub fn save(&self, path: &Path) -> Outcome {
        let pixels = (self.side * self.side) as usize;
        // Whole multiples of the side keep all pixels alike.
        let size = (self.size / self.side).max(1) * self.side;
        let step = size + self.gap;
        let count = (self.images.len() / pixels) as u32;
        let (across, down) = (self.columns * step - self.gap, count.div_ceil(self.columns) * step - self.gap);
        let [beside, below] = self.ticks.each_ref().map(|t| if t.is_empty() { 0 } else { 110 });
        let (left, top) = (MARGIN + beside, 2 * MARGIN + TITLE + TEXT);
        let (width, height) = (left + across + MARGIN, top + down + below + MARGIN);
        let mut picture = RgbImage::from_pixel(width, height, PAPER);
        for (i, values) in (0..).zip(self.images.chunks(pixels)) {
            let small = RgbImage::from_fn(self.side, self.side, |x, y| grey(values[(y * self.side + x) as usize]));
            let image = resize(&small, size, size, FilterType::Nearest);
            let (x, y) = (left + i % self.columns * step, top + i / self.columns * step);
            replace(&mut picture, &image, x.into(), y.into());
        }
        let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
        let write = |text: &str, size: u32, (x, y): (u32, u32), across: HPos| -> Outcome {
            let style = font(size)?.pos(Pos::new(across, VPos::Center));
            Ok(area.draw(&Text::new(text.to_string(), (x as i32, y as i32), style))?)
        };
        write(self.title, TITLE, (MARGIN, MARGIN + TITLE / 4), HPos::Left)?;
        write(self.note, TEXT - 4, (MARGIN, MARGIN + TITLE + TEXT / 2), HPos::Left)?;
        let [columns, lines] = &self.ticks;
        for (i, tick) in (0..).zip(columns) {
            let x = left + i * (across - size) / (columns.len() as u32 - 1).max(1) + size / 2;
            write(tick, TEXT - 8, (x, top + down + 28), HPos::Center)?;
        }
        for (i, tick) in (0..).zip(lines) {
            let y = top + i * (down - size) / (lines.len() as u32 - 1).max(1) + size / 2;
            write(tick, TEXT - 8, (left - 16, y), HPos::Right)?;
        }
        if below > 0 {
            write(self.axes[0], TEXT - 4, (left + across / 2, top + down + 76), HPos::Center)?;
        }
        if beside > 0 {
            let style = font(TEXT - 4)?.transform(FontTransform::Rotate270);
            let style = style.pos(Pos::new(HPos::Center, VPos::Center));
            let middle = ((MARGIN + 8) as i32, (top + down / 2) as i32);
            area.draw(&Text::new(self.axes[1].to_string(), middle, style))?;
        }
        area.present()?;
        drop(area);
        save(&picture, path)
    }
}
