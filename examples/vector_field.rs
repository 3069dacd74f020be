//! Trains denoising autoencoders on a spiral and on three points, and draws the displacement r(x) − x beside the exact
//! score of the smoothed density, which it estimates: `cargo run --release --example vector_field`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/kernels.rs"]
#[allow(dead_code, reason = "the theory suite uses the rest")]
mod kernels;
#[path = "common/options.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod options;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;
#[path = "common/training.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod training;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use image::RgbImage;
use kernels::{Kernels, spiral};
use options::Common;
use outcome::Outcome;
use picture::{GRID, INK, LINE, PAPER, TEXT, TITLE, font, save};
use plotters::coord::Shift;
use plotters::prelude::*;
use strait::{Activation, Gpu, Session};

/// Trains denoising autoencoders and draws their displacement beside the exact score: 3,000 steps for the spiral by
/// default, each on 256 points corrupted afresh; the three points take two thirds of them.
#[derive(Parser)]
struct Options {
    /// Standard deviation of the noise on the spiral, whose arms are 1.2 apart
    #[arg(long, default_value_t = 0.2, value_parser = |text: &str| arguments::within(text, 0.01..=3.0))]
    sigma: f64,
    #[command(flatten)]
    common: Common,
}

/// Half the side of the part of the plane that is drawn, and arrows along a side.
const REACH: f64 = 4.5;
const ARROWS: usize = 27;
/// How far from the middle the line of the three points is drawn, and the noise on them.
const LINE_REACH: f64 = 4.0;
const LINE_SIGMA: f64 = 0.25;
const ORANGE: RGBColor = RGBColor(230, 81, 0);
const RED: RGBColor = RGBColor(183, 28, 28);
const BAND: RGBColor = RGBColor(227, 242, 253);

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let path = options.common.file("vector_field.png")?;
    let gpu = Gpu::new()?;
    let epochs = options.common.epochs.unwrap_or(3000);
    let points: Vec<Vec<f64>> = spiral(256).into_iter().map(Vec::from).collect();
    let plane = Kernels { weights: vec![1.0; points.len()], points, sigma: options.sigma };
    let fit = |kernels: &Kernels, widths: &[usize], activation, epochs| -> Outcome<Session> {
        let (mut session, rows) = kernels.model(&gpu, (widths, activation), (256, epochs, options.common.seed))?;
        training::fit(&mut session, &rows)?;
        Ok(session)
    };
    let mut session = fit(&plane, &[64, 64], Activation::Tanh, epochs)?;

    // Where corrupted points lie, and where none ever came.
    let clean: Vec<f32> = plane.points.concat().iter().map(|v| *v as f32).collect();
    let near = session.corrupt(&clean.repeat(4), options.common.seed.wrapping_add(1))?;
    let far: Vec<f32> = (0..128)
        .flat_map(|i| {
            let angle = std::f64::consts::TAU * f64::from(i) / 128.0;
            [(6.0 * angle.cos()) as f32, (6.0 * angle.sin()) as f32]
        })
        .collect();
    let (near_angle, near_off) = plane.compare(&mut session, &near)?;
    let (far_angle, far_off) = plane.compare(&mut session, &far)?;

    let line = Kernels { points: vec![vec![-1.0], vec![0.0], vec![1.0]], weights: vec![1.0; 3], sigma: LINE_SIGMA };
    let mut curves = Vec::new();
    for (name, activation, colour) in [("tanh", Activation::Tanh, LINE), ("relu", Activation::Relu, ORANGE)] {
        let mut session = fit(&line, &[32, 16], activation, (epochs * 2 / 3).max(1))?;
        let inside = line.compare(&mut session, &grid(1.5))?.1;
        let outside = line.compare(&mut session, &[-LINE_REACH as f32, LINE_REACH as f32])?.1;
        let at = grid(LINE_REACH);
        let r = session.reconstruct(&at)?;
        let curve = at.iter().zip(r).map(|(x, r)| (f64::from(*x), f64::from(r) - f64::from(*x))).collect();
        curves.push(Curve { name, colour, curve, inside, outside });
    }

    draw(&path, &plane, &mut session, near_angle, &line, &curves)?;

    println!("adapter  {}", gpu.adapter().name);
    println!("where                          angle to the score   r(x) off the best");
    println!("spiral, corrupted points       {near_angle:>15.2} deg   {:>11.3} sigma", near_off / options.sigma);
    println!("spiral, on a circle of 6       {far_angle:>15.2} deg   {:>11.3} sigma", far_off / options.sigma);
    for Curve { name, inside, outside, .. } in &curves {
        println!("3 points, {name}, |x| <= 1.5                         {:>11.3} sigma", inside / LINE_SIGMA);
        println!("3 points, {name}, |x| = {LINE_REACH}                           {:>11.3} sigma", outside / LINE_SIGMA);
    }
    println!("wrote    {}", path.display());
    if options.common.json {
        let line = |c: &Curve| serde_json::json!({ "activation": c.name, "off_near": c.inside, "off_far": c.outside });
        let figures = serde_json::json!({
            "mean_angle_degrees": near_angle,
            "off_near": near_off,
            "far_angle_degrees": far_angle,
            "off_far": far_off,
            "three_points": curves.iter().map(line).collect::<Vec<_>>(),
            "sigma": options.sigma,
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
            "epochs": epochs,
        });
        println!("{figures}");
    }
    Ok(())
}

/// What a network made of the three points.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    curve: Vec<(f64, f64)>,
    /// Root of the mean squared distance of r(x) from the best, near the points and far from them.
    inside: f64,
    outside: f64,
}

/// 401 places from −reach to reach.
fn grid(reach: f64) -> Vec<f32> {
    (-200..=200).map(|i| (reach * f64::from(i) / 200.0) as f32).collect()
}

/// Draws both fields side by side, and the line of three points below.
fn draw(path: &Path, plane: &Kernels, session: &mut Session, angle: f64, line: &Kernels, curves: &[Curve]) -> Outcome {
    let (width, height) = (1800, 1720);
    let mut picture = RgbImage::from_pixel(width, height, PAPER);
    let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
    let (upper, lower) = area.split_vertically(1060);
    let (left, right) = upper.split_horizontally(900);

    let place = |i: usize| REACH * (2.0 * i as f64 / (ARROWS - 1) as f64 - 1.0);
    let places: Vec<[f64; 2]> = (0..ARROWS * ARROWS).map(|i| [place(i % ARROWS), place(i / ARROWS)]).collect();
    let best: Vec<[f64; 2]> = places.iter().map(|x| plane.denoised(x)).map(|r| [r[0], r[1]]).collect();
    let flat: Vec<f32> = places.iter().flatten().map(|v| *v as f32).collect();
    let found: Vec<[f64; 2]> =
        session.reconstruct(&flat)?.chunks(2).map(|r| [f64::from(r[0]), f64::from(r[1])]).collect();
    let off = |r: &[f64; 2], best: &[f64; 2]| ((r[0] - best[0]).hypot(r[1] - best[1]) / plane.sigma).min(1.0);
    let wrong: Vec<f64> = found.iter().zip(&best).map(|(r, b)| off(r, b)).collect();
    let exact = vec![0.0; wrong.len()];
    let title = format!("Learned r(x) − x: {angle:.1}° off, in the mean");
    arrows(&left, &title, "grey: the points; red: r(x) lands one sigma or more off", plane, &places, &found, &wrong)?;
    arrows(
        &right,
        "Exact: sigma² times the score",
        "of the density of corrupted points; long arrows are cut",
        plane,
        &places,
        &best,
        &exact,
    )?;
    points_on_a_line(&lower, line, curves)?;
    area.present()?;
    drop((left, right, lower, upper, area));
    save(&picture, path)
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Draws displacements as arrows, no longer than their distance from each other, red where they are wrong.
fn arrows(
    area: &Area,
    title: &str,
    note: &str,
    kernels: &Kernels,
    places: &[[f64; 2]],
    to: &[[f64; 2]],
    wrong: &[f64],
) -> Outcome {
    let mut chart = ChartBuilder::on(area)
        .margin(24)
        .caption(title, font(TITLE)?)
        .x_label_area_size(90)
        .y_label_area_size(70)
        .build_cartesian_2d(-REACH * 1.05..REACH * 1.05, -REACH * 1.05..REACH * 1.05)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(INK)
        .label_style(font(TEXT - 6)?)
        .axis_desc_style(font(TEXT)?)
        .x_labels(9)
        .y_labels(9)
        .x_desc(note)
        .draw()?;
    let dots = kernels.points.iter().map(|p| Circle::new((p[0], p[1]), 5, RGBColor(158, 158, 158).filled()));
    chart.draw_series(dots)?;
    let longest = 0.92 * 2.0 * REACH / (ARROWS - 1) as f64;
    for ((x, to), wrong) in places.iter().zip(to).zip(wrong) {
        let length = (to[0] - x[0]).hypot(to[1] - x[1]).max(1e-9);
        let drawn = length.min(longest);
        let along = [(to[0] - x[0]) / length, (to[1] - x[1]) / length];
        let at = |forward: f64, aside: f64| {
            (x[0] + forward * along[0] - aside * along[1], x[1] + forward * along[1] + aside * along[0])
        };
        let head = (0.35 * drawn).min(0.1);
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * wrong) as u8;
        let colour = RGBColor(mix(LINE.0, RED.0), mix(LINE.1, RED.1), mix(LINE.2, RED.2));
        chart.draw_series([
            PathElement::new([at(0.0, 0.0), at(drawn, 0.0)], colour.stroke_width(2)),
            PathElement::new(
                [at(drawn - head, head * 0.6), at(drawn, 0.0), at(drawn - head, -head * 0.6)],
                colour.stroke_width(2),
            ),
        ])?;
    }
    Ok(())
}

/// Draws what the networks made of three points, and the closed form.
fn points_on_a_line(area: &Area, line: &Kernels, curves: &[Curve]) -> Outcome {
    let mut chart = ChartBuilder::on(area)
        .margin(24)
        .caption("Three points in one dimension: r(x) − x", font(TITLE)?)
        .x_label_area_size(90)
        .y_label_area_size(110)
        .build_cartesian_2d(-LINE_REACH..LINE_REACH, -3.4..3.4)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(TEXT - 6)?)
        .axis_desc_style(font(TEXT)?)
        .x_labels(9)
        .x_desc("x")
        .y_desc("displacement")
        .draw()?;
    let reach = 1.0 + 3.0 * line.sigma;
    let band = Rectangle::new([(-reach, -3.4), (reach, 3.4)], BAND.filled());
    chart
        .draw_series([band])?
        .label("corrupted points lie here (3 sigma)")
        .legend(|(x, y)| Rectangle::new([(x, y - 10), (x + 40, y + 10)], BAND.filled()));
    chart.draw_series([PathElement::new([(-LINE_REACH, 0.0), (LINE_REACH, 0.0)], GRID.stroke_width(2))])?;
    let exact = grid(LINE_REACH).into_iter().map(f64::from).map(|x| (x, line.denoised(&[x])[0] - x));
    chart
        .draw_series(LineSeries::new(exact, INK.stroke_width(8)))?
        .label("exact: sum x_i softmax(−(x − x_i)²/2 sigma²) − x")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 40, y)], INK.stroke_width(8)));
    for Curve { name, colour, curve, .. } in curves {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(curve.iter().copied(), colour.stroke_width(4)))?
            .label(format!("learned, {name}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 40, y)], colour.stroke_width(4)));
    }
    chart
        .draw_series(line.points.iter().map(|p| Circle::new((p[0], 0.0), 10, RED.filled())))?
        .label("the points")
        .legend(|(x, y)| Circle::new((x + 20, y), 10, RED.filled()));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(16)
        .legend_area_size(60)
        .label_font(font(TEXT - 6)?)
        .background_style(WHITE.mix(0.9))
        .border_style(GRID)
        .draw()?;
    Ok(())
}
