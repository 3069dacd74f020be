//! Rows 37 and 40: layers that are trained pair by pair, and classifiers on encoders that were trained without labels.

use nalgebra::DMatrix;
use strait::graph::{Graph, NodeId, Over, Sink};
use strait::model::Supervised;
use strait::train::{Run, Trainer};
use strait::{Activation, Corruption, Data, Gpu, Optimizer, Result, Session, Spec, Training};

use super::Row;
use super::check::Check;
use super::linear::{covariance, eigen, largest_angle, matrix, narrow, normal, uniform, values, wide};
use super::outcome::Outcome;

/// The rows of this section.
pub const PAIRS: &[Row] = &[Row { number: 37, name: "greedy layerwise pretraining", run: pairs, slow: None }];

/// Those of the list that come after restricted Boltzmann machines.
pub const LABELS: &[Row] = &[Row { number: 40, name: "classifiers on pretrained encoders", run: labels, slow: None }];

const ROWS: usize = 24;
const WIDTHS: [usize; 3] = [7, 5, 3];
const CLASSES: usize = 4;

fn rows(seed: u64) -> Result<Data> {
    Data::from_rows(WIDTHS[0], narrow(&values(&uniform(ROWS, WIDTHS[0], (-1.0, 1.0), seed, 70))))
}

/// A whole batch a step, in order.
fn training(optimizer: Optimizer, learning_rate: f64, epochs: u64, seed: u64) -> Training {
    Training { optimizer, learning_rate, batch: ROWS, epochs, shuffle: false, seed, ..Training::default() }
}

/// A tensor of a trainer by its name, as a matrix of one row for a bias.
fn tensor(trainer: &Trainer, name: &str) -> Outcome<DMatrix<f64>> {
    let at = trainer.tensors().iter().position(|tensor| tensor.name == name).ok_or_else(|| format!("no {name}"))?;
    Ok(matrix(&trainer.parameters()?[at], trainer.tensors()[at].shape.columns()))
}

/// How many values differ in a bit, of the tensors whose names do not begin with one of `trained`.
fn changed(trainer: &Trainer, before: &[Vec<f32>], trained: &[String]) -> Result<u32> {
    let after = trainer.parameters()?;
    let others = trainer.tensors().iter().zip(before.iter().zip(&after));
    let others = others.filter(|(tensor, _)| !trained.iter().any(|name| tensor.name.starts_with(name)));
    let differs = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits();
    Ok(others.map(|(_, (before, after))| before.iter().zip(after).filter(differs).count() as u32).sum())
}

/// x W + b, through a function.
fn layer(x: &DMatrix<f64>, w: &DMatrix<f64>, b: &DMatrix<f64>, f: impl Fn(f64) -> f64) -> DMatrix<f64> {
    DMatrix::from_fn(x.nrows(), w.ncols(), |r, c| f((0..x.ncols()).map(|i| x[(r, i)] * w[(i, c)]).sum::<f64>() + b[c]))
}

/// Row 37.
fn pairs(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let data = rows(seed)?;
    let decayed = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    let momentum = Optimizer::Sgd { momentum: 0.9, nesterov: true };
    for (optimizer, what) in [(momentum, "momentum"), (Optimizer::ADAM, "Adam"), (decayed, "AdamW")] {
        let spec = Spec::symmetric(&WIDTHS, Activation::Tanh).weight_decay(0.01);
        let run = Run::greedy(&spec, &training(optimizer, 0.01, 20, seed))?;
        let mut trainer = Trainer::new(gpu, run)?;
        let mut bits = 0;
        for own in [["encoder.0", "decoder.1"], ["encoder.1", "decoder.0"]] {
            let before = trainer.parameters()?;
            trainer.fit(&data)?;
            bits += changed(&trainer, &before, &own.map(String::from))?;
        }
        checks.push(Check::equal(format!("values of the other pair that changed, {what}"), 0, bits, 0.0));
    }

    // One step of plain descent by a rate of 1 is the gradient itself: of the first pair ||r - x||², of the second ||h3 - h1||².
    let spec = Spec::symmetric(&WIDTHS, Activation::Tanh);
    let mut trainer = Trainer::new(gpu, Run::greedy(&spec, &training(Optimizer::SGD, 1.0, 1, seed))?)?;
    let x = matrix(data.values(), WIDTHS[0]);
    for (pair, encoder, decoder, what) in [(0, 0, 1, "outer pair"), (1, 1, 0, "inner pair, on frozen codes")] {
        let input = match pair {
            0 => x.clone(),
            _ => layer(&x, &tensor(&trainer, "encoder.0.weight")?, &tensor(&trainer, "encoder.0.bias")?, f64::tanh),
        };
        let names = [format!("encoder.{encoder}"), format!("decoder.{decoder}")];
        let of = |trainer: &Trainer, part: &str| -> Outcome<[DMatrix<f64>; 2]> {
            let [a, b] = names.each_ref().map(|name| tensor(trainer, &format!("{name}.{part}")));
            Ok([a?, b?])
        };
        let ([w, v], [b, c]) = (of(&trainer, "weight")?, of(&trainer, "bias")?);
        trainer.fit(&data)?;
        let [w_after, v_after] = of(&trainer, "weight")?;
        // The code of the outer pair and the output of the inner one have activations; the others are linear.
        let inner = pair == 1;
        let code = layer(&input, &w, &b, |a| if inner { a } else { a.tanh() });
        let out = layer(&code, &v, &c, |a| if inner { a.tanh() } else { a });
        let scale = 2.0 / (ROWS * input.ncols()) as f64;
        let slope = |h: f64| 1.0 - h * h;
        let d_out = DMatrix::from_fn(ROWS, out.ncols(), |r, c| {
            scale * (out[(r, c)] - input[(r, c)]) * if inner { slope(out[(r, c)]) } else { 1.0 }
        });
        let back = &d_out * v.transpose();
        let d_code =
            DMatrix::from_fn(ROWS, code.ncols(), |r, c| back[(r, c)] * if inner { 1.0 } else { slope(code[(r, c)]) });
        for (part, expected, moved) in [
            ("decoder", code.transpose() * &d_out, &v - v_after),
            ("encoder", input.transpose() * &d_code, &w - w_after),
        ] {
            let identity = format!("gradient of the {part}, {what}");
            checks.push(Check::all_equal(identity, &values(&expected), &values(&moved), 1e-6));
        }
    }

    // Separate models that are stacked: the same starts, orders and draws.
    let masked = Corruption::Masking { probability: 0.3, rescale: false };
    for (spec, what) in [
        (Spec::symmetric(&WIDTHS, Activation::Elu), "plain"),
        (Spec::symmetric(&WIDTHS, Activation::Elu).corruption(masked), "denoising"),
    ] {
        let options = Training { batch: 5, shuffle: true, ..training(Optimizer::ADAM, 0.01, 6, seed) };
        let mut trainer = Trainer::new(gpu, Run::greedy(&spec, &options)?)?;
        let (mut apart, mut data, mut found) = (vec![], data.clone(), vec![]);
        for (i, pair) in spec.pairs()?.iter().enumerate() {
            trainer.fit(&rows(seed)?)?;
            let mut session = Session::new(gpu, pair, Training { seed: seed.wrapping_add(i as u64), ..options })?;
            session.fit(&data)?;
            data = Data::from_rows(pair.code(), session.encode(data.values())?)?;
            apart.extend(session.parameters()?.concat());
        }
        for i in 0..WIDTHS.len() - 1 {
            for name in [format!("encoder.{i}"), format!("decoder.{}", WIDTHS.len() - 2 - i)] {
                for part in ["weight", "bias"] {
                    found.extend(values(&tensor(&trainer, &format!("{name}.{part}"))?));
                }
            }
        }
        let identity = format!("phases of one run = models that are stacked, {what}");
        checks.push(Check::all_equal(identity, &wide(&apart), &found, 1e-4));
    }
    checks.push(cached(gpu, &data, seed)?);
    Ok(checks)
}

/// The inner phase on its cached codes, and the same one without a cache, in whose graph every step computes them from the rows.
fn cached(gpu: &Gpu, data: &Data, seed: u64) -> Outcome<Check> {
    let spec = Spec::symmetric(&WIDTHS, Activation::Tanh);
    let options = Training { batch: 5, shuffle: true, ..training(Optimizer::ADAM, 0.01, 20, seed) };
    let run = Run::greedy(&spec, &options)?;
    let mut again = run.clone();
    let names: Vec<String> = Trainer::new(gpu, run.clone())?.tensors().iter().map(|t| t.name.clone()).collect();
    let at = |name: &str| names.iter().position(|other| other == name).ok_or_else(|| format!("no {name}"));
    let inner = &mut again.phases[1];
    let computed = inner.cached.take().is_some();
    inner.steps[0].graph = without_cache(run.graph(), &at)?;
    let ended = |run: Run| -> Outcome<Vec<f64>> {
        let mut trainer = Trainer::new(gpu, run)?;
        while trainer.phase().is_some() {
            trainer.fit(data)?;
        }
        Ok(wide(&trainer.parameters()?.concat()))
    };
    let (kept, recomputed) = (ended(run)?, ended(again)?);
    let expected = if computed { recomputed } else { vec![] };
    Ok(Check::all_equal("cached codes equal recomputed ones: all tensors after training", &expected, &kept, 1e-5))
}

/// The mean of (h3 - h1)² for shuffled rows, where h1 is the first layer's code and h3 what the inner pair makes of it, with its
/// gradients by the inner pair.
fn without_cache(mut g: Graph, at: &dyn Fn(&str) -> std::result::Result<usize, String>) -> Outcome<Graph> {
    let layer = |g: &mut Graph, x: NodeId, name: &str| -> Outcome<NodeId> {
        let (w, b) = (g.param(at(&format!("{name}.weight"))?)?, g.param(at(&format!("{name}.bias"))?)?);
        let product = g.matmul(x, w, false, false)?;
        Ok(g.map([product, b], |[p, b]| p + b)?)
    };
    let x = g.gather(WIDTHS[0], true);
    let h1 = layer(&mut g, x, "encoder.0")?;
    let h1 = g.map([h1], |[a]| a.tanh())?;
    let h2 = layer(&mut g, h1, "encoder.1")?;
    let h3 = layer(&mut g, h2, "decoder.0")?;
    let squares = g.map([h3, h1], |[a, h1]| (a.tanh() - h1).square())?;
    let sum = g.sum(Over::Columns, squares);
    let rows = g.map([sum], |[s]| s / WIDTHS[1] as f64)?;
    let error = g.batch_mean(rows)?;
    g.term("reconstruction", error);
    let tensors = ["encoder.1.weight", "encoder.1.bias", "decoder.0.weight", "decoder.0.bias"];
    let tensors = tensors.into_iter().map(at).collect::<std::result::Result<Vec<_>, _>>()?;
    let params = tensors.iter().map(|&i| g.param(i)).collect::<Result<Vec<_>>>()?;
    let gradients = g.gradient(error, &params)?;
    tensors.into_iter().zip(gradients).for_each(|(i, gradient)| g.sink(Sink::Gradient(i), gradient));
    Ok(g)
}

/// Row 40.
fn labels(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let classes: Vec<u32> = (0..ROWS).map(|row| (row * 7 % CLASSES) as u32).collect();
    let data = rows(seed)?.with_labels(classes.clone())?.labelled(CLASSES)?;
    let supervised = Some(Supervised { classes: CLASSES, weight: 1.0 });
    let spec = Spec { supervised, ..Spec::symmetric(&WIDTHS, Activation::Tanh) };
    let mut pretrained = Session::new(gpu, &spec, training(Optimizer::ADAM, 0.01, 5, seed))?;
    pretrained.fit(&data)?;
    for (frozen, own, what) in [
        (&["encoder"][..], &["classifier"][..], "encoder frozen"),
        (&["encoder.0"][..], &["encoder.1", "classifier"][..], "first layer frozen"),
        (&[][..], &["encoder", "classifier"][..], "none frozen"),
    ] {
        let run = Run::classifier(&spec, frozen, &training(Optimizer::ADAM, 0.01, 20, seed))?;
        let mut trainer = Trainer::new(gpu, run)?;
        trainer.start_from(&pretrained)?;
        let before = trainer.parameters()?;
        trainer.fit(&data)?;
        let own: Vec<String> = own.iter().map(|name| name.to_string()).collect();
        let bits = changed(&trainer, &before, &own)?;
        checks.push(Check::equal(
            format!("values of frozen layers and the decoder that changed, {what}"),
            0,
            bits,
            0.0,
        ));
    }

    // On a frozen encoder it is logistic regression on the codes: 50 steps of descent in f64.
    const STEPS: usize = 50;
    let run = Run::classifier(&spec, &["encoder"], &training(Optimizer::SGD, 0.5, STEPS as u64, seed))?;
    let mut trainer = Trainer::new(gpu, run)?;
    trainer.start_from(&pretrained)?;
    let mut w = tensor(&trainer, "classifier.weight")?;
    let mut b = tensor(&trainer, "classifier.bias")?;
    let of = |name: &str| tensor(&trainer, name);
    let x = matrix(rows(seed)?.values(), WIDTHS[0]);
    let hidden = layer(&x, &of("encoder.0.weight")?, &of("encoder.0.bias")?, f64::tanh);
    let code = layer(&hidden, &of("encoder.1.weight")?, &of("encoder.1.bias")?, |a| a);
    trainer.fit(&data)?;
    for _ in 0..STEPS {
        let logits = layer(&code, &w, &b, |a| a);
        let total = |r: usize| (0..CLASSES).map(|c| logits[(r, c)].exp()).sum::<f64>();
        let off = DMatrix::from_fn(ROWS, CLASSES, |r, c| {
            (logits[(r, c)].exp() / total(r) - f64::from(u8::from(classes[r] as usize == c))) / ROWS as f64
        });
        w -= 0.5 * code.transpose() * &off;
        b -= 0.5 * DMatrix::from_fn(1, CLASSES, |_, c| off.column(c).sum());
    }
    let found = values(&tensor(&trainer, "classifier.weight")?);
    checks.push(Check::all_equal("on a frozen encoder: logistic regression of codes", &values(&w), &found, 1e-5));
    checks.extend(separated(gpu, seed)?);
    Ok(checks)
}

/// 200 rows of two well separated classes along one of 20 directions, beside others with less spread: a code of one number that was
/// learned from all of them without labels is their first principal axis, and a classifier of 2 labels on it tells the classes.
fn separated(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    const COUNT: usize = 200;
    const WIDE: usize = 20;
    let (axis, noise) = (normal(1, WIDE, seed, 72), normal(COUNT, WIDE, seed, 73));
    let axis = &axis / axis.norm();
    let side = |row: usize| if row.is_multiple_of(2) { 2.0 } else { -2.0 };
    let x = DMatrix::from_fn(COUNT, WIDE, |r, c| side(r) * axis[c] + 0.5 * noise[(r, c)]);
    let labels: Vec<u32> = (0..COUNT).map(|row| (row % 2) as u32).collect();
    let data = Data::from_rows(WIDE, narrow(&values(&x)))?.with_labels(labels.clone())?;
    let supervised = Some(Supervised { classes: 2, weight: 1.0 });
    // Tied, so that nothing has to pass a point where encoder and decoder point away from each other.
    let spec = Spec::symmetric(&[WIDE, 1], Activation::Identity).tied();
    let mut pretrained =
        Session::new(gpu, &spec, Training { batch: COUNT, ..training(Optimizer::ADAM, 0.01, 300, seed) })?;
    pretrained.fit(&data)?;
    let learned = matrix(&pretrained.parameter("encoder.0.weight")?, 1);
    let (_, axes) = eigen(&covariance(&x));
    let angle = largest_angle(&learned, &axes.columns(0, 1).into_owned());
    let spec = Spec { supervised, ..spec };
    let options = Training { batch: 2, ..training(Optimizer::ADAM, 0.05, 200, seed) };
    let mut trainer = Trainer::new(gpu, Run::classifier(&spec, &["encoder"], &options)?)?;
    trainer.start_from(&pretrained)?;
    trainer.fit(data.select(&[0, 1])?.labelled(2)?)?;
    let model = trainer.model().ok_or("a run over a spec has a model")?;
    let told = model.classify(data.values())?;
    let right = told.chunks(2).zip(&labels).filter(|(p, label)| (p[1] > p[0]) == (**label == 1));
    Ok(vec![
        Check::at_most("angle of the pretrained encoder to the first principal axis", 0.01, angle),
        Check::at_least("right of 200, one label a class, after pretraining", 180, right.count() as u32),
    ])
}
