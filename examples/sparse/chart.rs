//! The pictures of the example: features and histograms of codes side by side, and the sparsity curves.

use std::path::Path;

use image::RgbImage;
use image::imageops::{FilterType, replace, resize};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::outcome::Outcome;
use super::picture::{GRID, INK, LINE, PAPER, extent, font, save, signed};

/// What a model learned.
pub struct Codes {
    /// Its name.
    pub title: String,
    /// What its figures are.
    pub note: String,
    /// [units, pixels]: what each unit of the code adds to an image.
    pub weights: Vec<f32>,
    /// Codes of test images.
    pub codes: Vec<f32>,
}

/// A curve over the mean activity.
pub struct Curve {
    /// Its name.
    pub name: &'static str,
    /// Activity and cost.
    pub points: Vec<(f64, f64)>,
}

const MARGIN: u32 = 48;
const PANEL: u32 = 760;
const FEATURES: u32 = 8;
const TITLE: u32 = 40;
const TEXT: u32 = 28;
const HISTOGRAM: u32 = 420;
const BINS: usize = 40;
const SECOND: RGBColor = RGBColor(216, 67, 21);

/// Draws a column for each model, two beside each other: the features that are used most, above the histogram of codes.
pub fn features(path: &Path, side: usize, models: &[Codes]) -> Outcome {
    let pixels = side * side;
    let cell = PANEL / FEATURES;
    let size = (cell - 6) / side as u32 * side as u32;
    let block = TITLE + TEXT + 40 + 4 * cell + HISTOGRAM + MARGIN;
    let top = MARGIN + TITLE + TEXT + 40;
    let (width, height) = (2 * PANEL + 3 * MARGIN, top + (models.len() as u32).div_ceil(2) * block);
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let place = |i: u32| (MARGIN + i % 2 * (PANEL + MARGIN), top + i / 2 * block);
    for (i, model) in (0..).zip(models) {
        let (left, top) = place(i);
        let units = model.weights.len() / pixels;
        // By what a unit adds to images in all.
        let of = |u: usize| model.codes.iter().skip(u).step_by(units);
        let used = |u: usize| of(u).map(|h| f64::from(*h)).sum::<f64>();
        let active = |u: &usize| of(*u).filter(|h| **h > 0.0).count() * 100 >= model.codes.len() / units;
        // Units that never learned still have the weights they started from.
        let mut order: Vec<(f64, usize)> = (0..units).filter(active).map(|u| (used(u), u)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (at, (_, unit)) in (0..4 * FEATURES).zip(order) {
            let weights = &model.weights[unit * pixels..][..pixels];
            let largest = weights.iter().fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs()));
            let small = RgbImage::from_fn(side as u32, side as u32, |x, y| {
                signed(weights[y as usize * side + x as usize] / largest)
            });
            let image = resize(&small, size, size, FilterType::Nearest);
            let (x, y) = (left + at % FEATURES * cell, top + TITLE + TEXT + 40 + at / FEATURES * cell);
            replace(&mut sheet, &image, x.into(), y.into());
        }
    }
    let area = BitMapBackend::with_buffer(&mut sheet, (width, height)).into_drawing_area();
    let write = |text: &str, size: u32, x: u32, y: u32| -> Outcome {
        let style = font(size)?.pos(Pos::new(HPos::Left, VPos::Top));
        Ok(area.draw(&Text::new(text.to_string(), (x as i32, y as i32), style))?)
    };
    write(
        "Sparse autoencoders: what the units of the code stand for, and how often they are active",
        TITLE,
        MARGIN,
        MARGIN / 2,
    )?;
    let legend = "Decoder weights of the 32 most used units that at least 1 % of the images make active, \
                  each to its own scale: red is positive, blue negative";
    write(legend, TEXT, MARGIN, MARGIN / 2 + TITLE + 16)?;
    for (i, model) in (0..).zip(models) {
        let (left, top) = place(i);
        write(&model.title, TITLE, left, top)?;
        write(&model.note, TEXT, left, top + TITLE + 10)?;
        let high = top + TITLE + TEXT + 40 + 4 * cell + 8;
        histogram(&area.clone().shrink((left, high), (PANEL, HISTOGRAM)), &model.codes)?;
    }
    area.present()?;
    drop(area);
    save(&sheet, path)
}

/// The share of codes in each of so many intervals, on a logarithmic scale: most codes are near 0.
fn histogram(area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>, codes: &[f32]) -> Outcome {
    let largest = extent(codes.iter().map(|&h| h.into()).chain([0.0])).end;
    let mut counts = [0usize; BINS];
    for &h in codes {
        counts[((f64::from(h) / largest * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let least = 1e-5;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(70)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..largest, (least..1.0).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(TEXT - 4)?)
        .axis_desc_style(font(TEXT)?)
        .y_label_formatter(&|share: &f64| format!("{}", (share * 1e5).round() / 1e5))
        .x_labels(6)
        .x_desc("activity of a unit")
        .y_desc("share of codes")
        .draw()?;
    let step = largest / BINS as f64;
    let bar = |(i, &n): (usize, &usize)| {
        let share = (n as f64 / codes.len() as f64).max(least);
        Rectangle::new([(i as f64 * step, least), ((i as f64 + 0.9) * step, share)], LINE.filled())
    };
    chart.draw_series(counts.iter().enumerate().map(bar))?;
    Ok(())
}

/// Draws what a unit's mean activity costs.
pub fn curves(path: &Path, rho: f64, curves: &[Curve]) -> Outcome {
    let (width, height) = (1600, 900);
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .caption(format!("What the mean activity q of a unit costs, where rho = {rho} is wanted"), font(TITLE)?)
        .x_label_area_size(80)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..1.0, 0.0..2.5)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(TEXT)?)
        .axis_desc_style(font(TEXT + 4)?)
        .x_label_formatter(&|q| format!("{q:.1}"))
        .y_label_formatter(&|cost| format!("{cost:.1}"))
        .x_desc("q, mean activity over the batch")
        .y_desc("penalty of the unit (nats; squares)")
        .draw()?;
    for (curve, color) in curves.iter().zip([LINE, SECOND]) {
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied().filter(|p| p.1 <= 2.5), color.stroke_width(4)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 50, y)], color.stroke_width(4)));
    }
    chart
        .draw_series([PathElement::new([(rho, 0.0), (rho, 2.5)], INK.mix(0.5).stroke_width(2))])?
        .label("q = rho, where both are 0")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 50, y)], INK.mix(0.5).stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperMiddle)
        .legend_area_size(70)
        .margin(20)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font(font(TEXT + 4)?)
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    save(&picture, path)
}
