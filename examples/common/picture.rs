//! Pictures: sheets of small square images, and loss curves.

use std::ops::Range;
use std::path::Path;

use image::imageops::{FilterType, replace, resize};
use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use strait::Data;

use super::outcome::Outcome;

/// Colours of what is drawn on, of text and axes, of curves, of grids.
pub const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
pub const INK: RGBColor = RGBColor(38, 50, 56);
pub const LINE: RGBColor = RGBColor(21, 101, 192);
pub const GRID: RGBColor = RGBColor(224, 228, 231);
/// Around everything, and between the parts of a sheet.
pub const MARGIN: u32 = 48;
/// Width of a sheet without its margins, at most.
const WIDTH: u32 = 1660;
/// Left of a sheet's rows, for their labels.
const LABELS: u32 = 272;
/// Between the images of a row, at least.
const GAP: u32 = 12;
/// Between two features, and lines of them at most.
const FEATURE_GAP: u32 = 4;
const FEATURE_LINES: u32 = 8;
/// Sizes of text.
pub const TITLE: u32 = 44;
pub const TEXT: u32 = 34;

/// Rows of square images, each with a label, above a panel of features.
pub struct Sheet<'a> {
    /// Pixels of an image's side.
    pub side: u32,
    /// What is written on top.
    pub title: String,
    /// A label and images of values from 0 to 1, one after the other.
    pub rows: Vec<(&'a str, Vec<f32>)>,
    /// What is written above the panel of features.
    pub legend: &'a str,
    /// The features, each to its own scale, red where they are positive and blue where negative: [pixels, features], as
    /// a layer's weights. Where there are none, no panel is drawn.
    pub features: &'a [f32],
    /// Pixels of a feature's side in the picture, at most.
    pub feature_size: u32,
}

impl Sheet<'_> {
    /// Draws the sheet into a PNG.
    pub fn save(&self, path: &Path) -> Outcome {
        let pixels = (self.side * self.side) as usize;
        let image = |values: Vec<Rgb<u8>>, size: u32| {
            let small = RgbImage::from_fn(self.side, self.side, |x, y| values[(y * self.side + x) as usize]);
            resize(&small, size, size, FilterType::Nearest)
        };
        // Whole multiples of the side keep all pixels alike.
        let whole = |size: u32| (size / self.side).max(1) * self.side;

        // The panel of features sets the width; what does not fit it is left out.
        let feature = whole(self.feature_size);
        let columns = (WIDTH + FEATURE_GAP) / (feature + FEATURE_GAP);
        let width = columns * (feature + FEATURE_GAP) - FEATURE_GAP;
        let total = self.features.len() / pixels;
        let shown = (total as u32).min(FEATURE_LINES * columns);

        let across = self.rows.iter().map(|(_, images)| images.len() / pixels).max().unwrap_or(0) as u32;
        let size = whole(((width - LABELS + GAP) / across.max(1)).saturating_sub(GAP));
        let gap = (width - LABELS).saturating_sub(across * size) / across.saturating_sub(1).max(1);
        let top = MARGIN + TITLE + MARGIN / 2;
        let panel = top + self.rows.len() as u32 * (size + GAP) + MARGIN;
        let bottom = match shown {
            0 => panel - MARGIN - GAP,
            _ => panel + TEXT + GAP + shown.div_ceil(columns) * (feature + FEATURE_GAP) - FEATURE_GAP,
        };
        let (sheet_width, sheet_height) = (width + 2 * MARGIN, bottom + MARGIN);

        let mut sheet = RgbImage::from_pixel(sheet_width, sheet_height, PAPER);
        for (row, (_, images)) in (0..).zip(&self.rows) {
            for (column, values) in (0..).zip(images.chunks(pixels)) {
                let (x, y) = (MARGIN + LABELS + column * (size + gap), top + row * (size + GAP));
                replace(&mut sheet, &image(values.iter().map(|&v| grey(v)).collect(), size), x.into(), y.into());
            }
        }
        for i in 0..shown {
            let weights = self.features.iter().skip(i as usize).step_by(total);
            let largest = weights.clone().fold(f32::MIN_POSITIVE, |largest, w| largest.max(w.abs()));
            let x = MARGIN + i % columns * (feature + FEATURE_GAP);
            let y = panel + TEXT + GAP + i / columns * (feature + FEATURE_GAP);
            replace(&mut sheet, &image(weights.map(|w| signed(w / largest)).collect(), feature), x.into(), y.into());
        }
        let area = BitMapBackend::with_buffer(&mut sheet, (sheet_width, sheet_height)).into_drawing_area();
        let write = |text: &str, size: u32, middle: u32| -> Outcome {
            let style = font(size)?.pos(Pos::new(HPos::Left, VPos::Center));
            Ok(area.draw(&Text::new(text.to_string(), (MARGIN as i32, middle as i32), style))?)
        };
        write(&self.title, TITLE, MARGIN + TITLE / 4)?;
        for (row, (label, _)) in (0..).zip(&self.rows) {
            write(label, TEXT, top + row * (size + GAP) + size / 2)?;
        }
        if shown > 0 {
            write(self.legend, TEXT, panel + TEXT / 2)?;
        }
        area.present()?;
        drop(area);
        save(&sheet, path)
    }
}

/// Draws a training loss over epochs into a PNG.
pub fn loss_curve(path: &Path, title: &str, loss: &str, curve: &[(f64, f64)]) -> Outcome {
    let (width, height) = (1600, 900);
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let curve: Vec<(f64, f64)> = curve.iter().copied().filter(|p| p.1.is_finite()).collect();
    let Range { start: low, end: high } = extent(curve.iter().map(|p| p.1));
    let room = (high - low) * 0.05;
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(title, font(TITLE)?)
        .x_label_area_size(90)
        .y_label_area_size(130)
        .build_cartesian_2d(extent(curve.iter().map(|p| p.0).chain([0.0])), low - room..high + room)?;
    mesh(&mut chart, "epoch", loss)?;
    chart.draw_series(LineSeries::new(curve.iter().copied(), LINE.stroke_width(4)))?;
    if let [only] = &curve[..] {
        chart.draw_series([Circle::new(*only, 8, LINE.filled())])?;
    }
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}

/// Writes a picture, and makes the folder it is for.
pub fn save(picture: &RgbImage, path: &Path) -> Outcome {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.map_err(Into::into).and_then(|()| picture.save(path)).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// From the least to the largest of the finite values; where that is no length, one that can be drawn around them.
pub fn extent(values: impl Iterator<Item = f64>) -> Range<f64> {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    // Labels need digits that tell the ends apart.
    let least = (low.abs().max(high.abs()) * 1e-6).max(1e-9);
    if high - low >= least { low..high } else { low..low + (low.abs() * 0.1).max(1e-9) }
}

/// A chart with numbers on both axes.
pub type Chart<'a, 'b> = ChartContext<
    'a,
    BitMapBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Draws grid, axes and their names.
pub fn mesh(chart: &mut Chart, x: &str, y: &str) -> Outcome {
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(TEXT - 4)?)
        .axis_desc_style(font(TEXT)?)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .x_desc(x)
        .y_desc(y)
        .draw()?;
    Ok(())
}

/// A number on an axis, without the tail of a sum like 0.1 + 0.2.
pub fn number(value: &f64) -> String {
    ((value * 1e6).round() / 1e6).to_string()
}

/// The first row of every class.
pub fn one_of_each(data: &Data) -> strait::Result<Data> {
    let labels = data.labels().unwrap_or_default();
    let rows: Vec<usize> = (0..10).filter_map(|class| labels.iter().position(|&l| l == class)).collect();
    data.select(&rows)
}

/// The font of all labels.
pub fn font(size: u32) -> Outcome<TextStyle<'static>> {
    register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the font of the labels cannot be read")?;
    Ok(("sans-serif", size).into_font().color(&INK))
}

/// Ink on paper: 0 is white.
pub fn grey(value: f32) -> Rgb<u8> {
    let v = ((1.0 - value.clamp(0.0, 1.0)) * 255.0) as u8;
    Rgb([v; 3])
}

/// From blue (−1) through white to red (1).
pub fn signed(value: f32) -> Rgb<u8> {
    let mix = |to: u8| (255.0 + (f32::from(to) - 255.0) * value.abs().min(1.0)) as u8;
    let end = if value < 0.0 { [13, 71, 161] } else { [183, 28, 28] };
    Rgb(end.map(mix))
}
