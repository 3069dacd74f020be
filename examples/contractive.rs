//! Trains a contractive autoencoder on handwritten digits and looks at its Jacobian: the directions that the code
//! follows, beside those of local principal components, and how much it contracts the others: `cargo run --release
//! --example contractive`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/options.rs"]
mod options;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/panel.rs"]
mod panel;
#[path = "common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;
#[path = "common/training.rs"]
mod training;

use std::process::ExitCode;

use clap::Parser;
use options::{Common, Images};
use outcome::Outcome;
use panel::{Group, Ink, Values, histogram, panel};
use picture::{LINE, one_of_each};
use plotters::style::RGBColor;
use strait::analysis::{Neighbours, Patch, Spectrum, saturation};
use strait::model::{Mapping, Method};
use strait::{Activation, Data, Gpu, Loss, Penalty, Session, Spec, Training};

/// Trains a contractive autoencoder on digits and draws its tangents and the spectrum of its Jacobian: 40 passes over
/// the embedded digits by default, 5 over the images of --data.
#[derive(Parser)]
struct Options {
    /// Numbers in a code
    #[arg(long, default_value_t = 96, value_parser = arguments::count::<usize>)]
    code: usize,
    /// Weight of the squared norm of the Jacobian: 0.3, and 3 with --data
    #[arg(long, value_parser = arguments::not_negative)]
    weight: Option<f64>,
    /// Nearest neighbours of a digit for local principal components
    #[arg(long, default_value_t = 20, value_parser = arguments::count::<usize>)]
    neighbours: usize,
    #[command(flatten)]
    images: Images,
    #[command(flatten)]
    common: Common,
}

/// Tangents drawn for each digit, and compared.
const TANGENTS: usize = 6;

/// Digits drawn, and test digits whose Jacobians are looked at.
const DRAWN: usize = 6;
const LOOKED_AT: usize = 100;

/// Codes this near to 0 or 1 count as saturated.
const MARGIN: f32 = 0.05;

/// What a model came to.
struct Model {
    spectra: Vec<Spectrum>,
    values: Vec<f64>,
    mse: f64,
    share: f64,
    saturated: f64,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let (train, test) = options.images.split()?;
    let columns = train.columns();
    let side = columns.isqrt();
    if !(TANGENTS..=train.rows()).contains(&options.neighbours) {
        let (found, most) = (options.neighbours, train.rows());
        return Err(format!("--neighbours is {found}; allowed: {TANGENTS}, one for each tangent, to {most}").into());
    }
    let spec = Spec::symmetric(&[columns, options.code], Activation::Identity)
        .code_activation(Activation::Sigmoid)
        .loss(Loss::Bernoulli)
        .tied();
    // As the loss, which is a sum over pixels.
    let weight = options.weight.unwrap_or(options.images.choose(0.3, 3.0));
    let penalised = spec.clone().penalty(Penalty::Contractive { weight, of: Mapping::Encoder, method: Method::Auto });
    // Before the model without it is trained.
    penalised.check()?;
    let (sheet, bars) =
        (options.common.file("contractive-tangents.png")?, options.common.file("contractive-spectrum.png")?);
    let looked_at = test.select(&(0..test.rows().min(LOOKED_AT)).collect::<Vec<_>>())?;
    let gpu = Gpu::new()?;
    let training = options.common.training(0.01, 50, options.images.choose(40, 5));
    let mut plain = train_one(&gpu, &spec, training, &train)?;
    let mut contractive = train_one(&gpu, &penalised, training, &train)?;
    let (before, after) = (look(&mut plain, &test, &looked_at)?, look(&mut contractive, &test, &looked_at)?);

    // How much of the leading local components lies in the encoder's leading tangents.
    let neighbours = Neighbours::among(&gpu, &train, &looked_at, options.neighbours)?;
    let tiles = Patch::tile(&train, &looked_at, &neighbours, TANGENTS)?;
    let shared = overlap(&after.spectra, &tiles);
    let shared_plain = overlap(&before.spectra, &tiles);
    let chance = TANGENTS as f64 / columns as f64;

    let drawn = one_of_each(&test)?;
    let drawn = drawn.select(&(0..drawn.rows().min(DRAWN)).collect::<Vec<_>>())?;
    let neighbours = Neighbours::among(&gpu, &train, &drawn, options.neighbours)?;
    let tiles = Patch::tile(&train, &drawn, &neighbours, TANGENTS)?;
    let narrow = |tangents: &[Vec<f64>]| tangents.iter().take(TANGENTS).flatten().map(|&v| v as f32).collect();
    let groups = [
        Group { title: "digit", ink: Ink::Grey, rows: drawn.values().chunks(columns).map(<[f32]>::to_vec).collect() },
        Group {
            title: "contractive encoder: leading right singular vectors of J",
            ink: Ink::Signed,
            rows: contractive.spectra(drawn.values())?.iter().map(|s| narrow(&s.tangents)).collect(),
        },
        Group {
            title: "local PCA of the nearest training digits",
            ink: Ink::Signed,
            rows: tiles.iter().map(|t| narrow(&t.tangents)).collect(),
        },
    ];
    let note = "Adding a little of a tangent to the digit moves along the manifold. \
                Each to its own scale: red is positive, blue negative.";
    panel(
        &sheet,
        "Tangents at digits the model has not seen, most important first",
        note,
        (side as u32, 112),
        &groups,
    )?;
    let named = |name: &str, model: &Model| format!("{name}: {:.0} % below 1", 100.0 * model.share);
    let names = [named("without penalty", &before), named("contractive", &after)];
    let title = format!("Singular values of the encoder's Jacobian at {} test digits", looked_at.rows());
    let all = [
        Values { name: &names[0], color: RGBColor(230, 120, 20), values: &before.values },
        Values { name: &names[1], color: LINE, values: &after.values },
    ];
    histogram(&bars, &title, "singular value (logarithmic; the first bar holds what is smaller, too)", &all)?;

    println!("adapter      {}", gpu.adapter().name);
    println!("             test error  singular values below 1  codes near 0 or 1  shared with local PCA");
    for (name, model, shared) in [("plain", &before, shared_plain), ("contractive", &after, shared)] {
        let (share, saturated) = (100.0 * model.share, 100.0 * model.saturated);
        println!("{name:<11} {:>11.5} {share:>22.1} % {saturated:>16.1} % {:>20.1} %", model.mse, 100.0 * shared);
    }
    println!("chance                                                                 {:>20.1} %", 100.0 * chance);
    println!("wrote        {} and {}", sheet.display(), bars.display());
    if options.common.json {
        let of = |model: &Model, shared: f64| {
            serde_json::json!({
                "test_mse": model.mse,
                "share_below_1": model.share,
                "saturation": model.saturated,
                "shared_with_local_pca": shared,
            })
        };
        let figures = serde_json::json!({
            "plain": of(&before, shared_plain),
            "contractive": of(&after, shared),
            "shared_by_chance": chance,
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
            "epochs": training.epochs,
        });
        println!("{figures}");
    }
    Ok(())
}

fn train_one(gpu: &Gpu, spec: &Spec, training: Training, train: &Data) -> strait::Result<Session> {
    let mut session = Session::new(gpu, spec, training)?;
    training::start_at_means(&mut session, train)?;
    training::fit(&mut session, train)?;
    Ok(session)
}

fn look(session: &mut Session, test: &Data, looked_at: &Data) -> strait::Result<Model> {
    let spectra = session.spectra(looked_at.values())?;
    Ok(Model {
        values: spectra.iter().flat_map(|s| s.values.iter().copied()).collect(),
        share: spectra.iter().map(Spectrum::contracting).sum::<f64>() / spectra.len() as f64,
        mse: training::mse(session, test)?,
        saturated: saturation(&session.encode(test.values())?, MARGIN),
        spectra,
    })
}

/// The mean share of local components' squared length that the leading tangents span.
fn overlap(spectra: &[Spectrum], tiles: &[Patch]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let each = |(spectrum, tile): (&Spectrum, &Patch)| -> f64 {
        let leading = spectrum.tangents.iter().take(TANGENTS);
        let within = leading.flat_map(|t| tile.tangents.iter().map(move |v| dot(t, v).powi(2)));
        within.sum::<f64>() / tile.tangents.len() as f64
    };
    spectra.iter().zip(tiles).map(each).sum::<f64>() / spectra.len() as f64
}
