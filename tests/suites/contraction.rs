//! Contraction of models that draw: noise at layers, dropout, latent draws and walkback, each with the contraction exact,
//! estimated, of the reconstruction and by layers. Objective and gradient are expected from the forward pass's own draws:
//! a plain forward pass in f64 that carries its Jacobian along, and differences of it.

use std::collections::HashMap;

use crate::common::{both, gpu, squared_error, values};
use strait::Draw;
use strait::graph::Sink;
use strait::internals::model::Network;
use strait::internals::plan::Target;
use strait::internals::reference::evaluate;
use strait::model::{Mapping, Method, Purpose};
use strait::reference::Environment;
use strait::{Activation, Corruption, Latent, Layer, Loss, Penalty, Spec};

const ROWS: usize = 4;
const SEED: u64 = 11;
const STEP: u32 = 3;
const SIGMA: f64 = 0.8;
const EPS: f64 = 1e-5;

/// The streams of draws, as in src/model/build.rs.
mod stream {
    pub const CORRUPTION: u32 = 1;
    pub const LATENT: u32 = 2;
    pub const SAMPLE: u32 = 4;
    pub const PENALTY: u32 = 64;
    pub const LAYER: u32 = 1 << 16;
    pub const WALKBACK: u32 = 1 << 20;
}

fn draw(stream: u32) -> Draw {
    Draw { seed: SEED, stream, step: STEP }
}

/// Values of a row with their derivatives by the input of the pass.
#[derive(Clone)]
struct Dual {
    value: Vec<f64>,
    by_input: Vec<Vec<f64>>,
}

impl Dual {
    fn input(value: Vec<f64>) -> Dual {
        let n = value.len();
        let by_input = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        Dual { value, by_input }
    }

    fn times(&mut self, unit: usize, factor: f64) {
        self.by_input[unit].iter_mut().for_each(|d| *d *= factor);
    }
}

/// What a pass gives for one row.
struct Pass {
    code: Dual,
    log_variance: Option<Dual>,
    mean: Dual,
    /// Σ over layers of the encoder of the squared norm of its Jacobian by its own input.
    by_layers: f64,
}

/// A spec with values for its parameters.
struct Model<'a> {
    spec: &'a Spec,
    params: HashMap<String, Vec<f64>>,
}

impl Model<'_> {
    fn dense(&self, name: &str, x: &Dual) -> Dual {
        let (weight, bias) = (&self.params[&format!("{name}.weight")], &self.params[&format!("{name}.bias")]);
        let (n, inputs) = (bias.len(), x.by_input[0].len());
        let sum =
            |j: usize, of: &dyn Fn(usize) -> f64| (0..x.value.len()).map(|i| weight[i * n + j] * of(i)).sum::<f64>();
        Dual {
            value: (0..n).map(|j| bias[j] + sum(j, &|i| x.value[i])).collect(),
            by_input: (0..n).map(|j| (0..inputs).map(|k| sum(j, &|i| x.by_input[i][k])).collect()).collect(),
        }
    }

    /// A layer, and the squared norm of its Jacobian by its own input.
    fn layer(&self, name: &str, layer: &Layer, x: &Dual, row: usize, stream: u32) -> (Dual, f64) {
        let (mut y, weight) = (self.dense(name, x), &self.params[&format!("{name}.weight")]);
        let (n, mut norm) = (y.value.len(), 0.0);
        for j in 0..n {
            let mut slope = 1.0;
            match layer.activation {
                Activation::Tanh => {
                    y.value[j] = y.value[j].tanh();
                    slope = 1.0 - y.value[j] * y.value[j];
                }
                Activation::Identity => {}
                other => panic!("{other:?} is not computed here"),
            }
            match layer.noise {
                Corruption::None => {}
                Corruption::Gaussian { sigma } => y.value[j] += sigma * draw(stream).normal(row, j),
                Corruption::Masking { probability, rescale } => {
                    let kept = if rescale { 1.0 / (1.0 - probability) } else { 1.0 };
                    let factor = if draw(stream).uniform(row, j) < probability { 0.0 } else { kept };
                    y.value[j] *= factor;
                    slope *= factor;
                }
                ref other => panic!("{other:?} is not drawn here"),
            }
            y.times(j, slope);
            norm += slope * slope * (0..x.value.len()).map(|i| weight[i * n + j].powi(2)).sum::<f64>();
        }
        (y, norm)
    }

    fn pass(&self, input: &[f64], row: usize, shift: u32) -> Pass {
        let (mut last, mut before, mut by_layers) = (Dual::input(input.to_vec()), None, 0.0);
        for (i, layer) in self.spec.encoder.iter().enumerate() {
            let (next, norm) = self.layer(&format!("encoder.{i}"), layer, &last, row, stream::LAYER + i as u32 + shift);
            before = Some(last);
            last = next;
            by_layers += norm;
        }
        let code = last.clone();
        let log_variance = matches!(self.spec.latent, Latent::Gaussian { .. })
            .then(|| self.dense("log_variance", before.as_ref().expect("a layer")));
        if let Some(gamma) = &log_variance {
            for j in 0..last.value.len() {
                let noise = (0.5 * gamma.value[j]).exp() * draw(stream::LATENT + shift).normal(row, j);
                last.value[j] += noise;
                for (d, by) in last.by_input[j].iter_mut().zip(&gamma.by_input[j]) {
                    *d += 0.5 * noise * by;
                }
            }
        }
        for (i, layer) in self.spec.decoder.iter().enumerate() {
            let stream = stream::LAYER + (self.spec.encoder.len() + i) as u32 + shift;
            last = self.layer(&format!("decoder.{i}"), layer, &last, row, stream).0;
        }
        Pass { code, log_variance, mean: last, by_layers }
    }

    fn loss(&self, pass: &Pass, x: &[f64]) -> f64 {
        let each = |(r, x): (&f64, &f64)| (r - x).powi(2) / (2.0 * SIGMA * SIGMA) + SIGMA.ln();
        pass.mean.value.iter().zip(x).map(|pair| each(pair) + 0.5 * std::f64::consts::TAU.ln()).sum()
    }

    fn corrupted(&self, x: &[f64], row: usize, stream: u32) -> Vec<f64> {
        match self.spec.corruption {
            Corruption::Gaussian { sigma } => {
                x.iter().enumerate().map(|(j, x)| x + sigma * draw(stream).normal(row, j)).collect()
            }
            _ => x.to_vec(),
        }
    }

    /// The objective for a batch. Draws of a walkback are no function of the parameters: taken from `drawn`, or else put
    /// there.
    fn objective(&self, data: &[f64], drawn: &mut HashMap<(usize, usize), Vec<f64>>) -> f64 {
        let mut total = 0.0;
        for (row, x) in data.chunks(self.spec.input).enumerate() {
            let first = self.pass(&self.corrupted(x, row, stream::CORRUPTION), row, 0);
            let mut loss = self.loss(&first, x);
            let mut mean = first.mean.value.clone();
            for i in 1..=self.spec.walkback {
                let shift = stream::WALKBACK * i as u32;
                let noise = draw(stream::SAMPLE + shift);
                let sample = || mean.iter().enumerate().map(|(j, m)| m + SIGMA * noise.normal(row, j)).collect();
                let sample = drawn.entry((row, i)).or_insert_with(sample).clone();
                let pass = self.pass(&self.corrupted(&sample, row, stream::CORRUPTION + shift), row, shift);
                loss += self.loss(&pass, x);
                mean = pass.mean.value;
            }
            total += loss / (1.0 + self.spec.walkback as f64);
            if let (Latent::Gaussian { beta }, Some(gamma)) = (self.spec.latent, &first.log_variance) {
                let each = |(m, g): (&f64, &f64)| 0.5 * (g.exp() + m * m - 1.0 - g);
                total += beta * first.code.value.iter().zip(&gamma.value).map(each).sum::<f64>();
            }
            total += self.contraction(&first, row);
        }
        total / ROWS as f64
    }

    fn contraction(&self, pass: &Pass, row: usize) -> f64 {
        let (weight, of, method) = match self.spec.penalties[0] {
            Penalty::Contractive { weight, of, method } => (weight, of, method),
            Penalty::Trace { weight } => {
                return weight * pass.mean.by_input.iter().enumerate().map(|(i, slopes)| slopes[i]).sum::<f64>();
            }
            _ => panic!("a contraction"),
        };
        let jacobian = if of == Mapping::Reconstruction { &pass.mean.by_input } else { &pass.code.by_input };
        let norm = match method {
            _ if of == Mapping::Layers => pass.by_layers,
            Method::Hutchinson { projections } => {
                let sign = |p: usize, j: usize| {
                    let uniform = draw(stream::PENALTY).uniform(row * projections + p, j);
                    if uniform < 0.5 { -1.0 } else { 1.0 }
                };
                let product =
                    |p: usize, k: usize| (0..jacobian.len()).map(|j| sign(p, j) * jacobian[j][k]).sum::<f64>();
                let squares = |p: usize| (0..self.spec.input).map(|k| product(p, k).powi(2)).sum::<f64>();
                (0..projections).map(squares).sum::<f64>() / projections as f64
            }
            _ => jacobian.iter().flatten().map(|d| d * d).sum(),
        };
        weight * norm
    }
}

/// Every way to draw.
fn systems(widths: &[usize]) -> Vec<(&'static str, Spec)> {
    let masking = |probability, rescale| Corruption::Masking { probability, rescale };
    let base = || Spec::symmetric(widths, Activation::Tanh).loss(Loss::Gaussian { sigma: SIGMA, learned: false });
    let noisy = |mut spec: Spec, encoder: Corruption, decoder: Corruption| {
        spec.encoder[0].noise = encoder;
        spec.decoder[0].noise = decoder;
        spec
    };
    let deep = widths.len() > 2;
    let gaussian = Corruption::Gaussian { sigma: 0.4 };
    let walkback = |spec: Spec| Spec { walkback: 2, ..spec }.gaussian_corruption(0.3);
    let mut systems = vec![
        ("masked", noisy(base(), masking(0.5, false), Corruption::None)),
        ("normal noise", noisy(base(), gaussian.clone(), gaussian.clone())),
        ("dropout", noisy(base(), masking(0.4, true), masking(0.3, true))),
        ("walkback", walkback(base())),
        ("walkback with dropout", walkback(noisy(base(), masking(0.4, true), masking(0.3, true)))),
        ("latent draw", base().variational(0.6)),
        ("latent draw with walkback", walkback(base().variational(0.6))),
        ("latent draw, masked and normal noise behind it", noisy(base().variational(0.6), Corruption::None, gaussian)),
    ];
    if deep {
        let all = noisy(base().variational(0.6), masking(0.4, true), masking(0.3, false));
        systems.push(("all of them", walkback(all)));
    }
    systems
}

fn penalties(layers: usize) -> Vec<(&'static str, Penalty)> {
    let contractive = |of, method| Penalty::Contractive { weight: 0.7, of, method };
    let estimated = |projections| Method::Hutchinson { projections };
    let mut penalties = vec![
        ("exact", contractive(Mapping::Encoder, Method::Exact)),
        ("estimated", contractive(Mapping::Encoder, estimated(3))),
        ("estimated by one projection", contractive(Mapping::Encoder, estimated(1))),
        ("of the reconstruction", contractive(Mapping::Reconstruction, Method::Exact)),
        ("of the reconstruction, estimated", contractive(Mapping::Reconstruction, estimated(2))),
        ("by layers", contractive(Mapping::Layers, Method::Auto)),
    ];
    if layers == 1 {
        penalties.push(("in closed form", contractive(Mapping::Encoder, Method::ClosedForm)));
    }
    penalties
}

/// Objective and gradient of a spec by hand, in the order of its parameters.
fn by_hand(spec: &Spec, network: &Network, data: &[f64], params: &[Vec<f64>]) -> (f64, Vec<f64>) {
    let names: Vec<String> = network.params().iter().map(|t| t.name.clone()).collect();
    let mut model = Model { spec, params: names.iter().cloned().zip(params.iter().cloned()).collect() };
    let mut drawn = HashMap::new();
    let objective = model.objective(data, &mut drawn);
    let mut gradient = Vec::new();
    for (name, values) in names.iter().zip(params) {
        for (e, value) in values.iter().enumerate() {
            let mut shifted = |by: f64| {
                model.params.get_mut(name).expect("a parameter")[e] = value + by;
                model.objective(data, &mut drawn)
            };
            gradient.push((shifted(EPS) - shifted(-EPS)) / (2.0 * EPS));
            shifted(0.0);
        }
    }
    (objective, gradient)
}

fn check(name: &str, spec: &Spec, on_gpu: bool) {
    let network = Network::new(spec).unwrap_or_else(|e| panic!("{name}: {e}"));
    let graph = network.graph(Purpose::Train, false).unwrap();
    let data = values(1, ROWS * spec.input, (-1.0, 1.0));
    let own = network.params().iter().enumerate();
    let params: Vec<_> = own.map(|(i, t)| values(10 + i as u32, t.shape.elements(1), (-0.9, 0.9))).collect();
    let wide = |v: &Vec<f32>| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
    let wide_params: Vec<Vec<f64>> = params.iter().map(wide).collect();
    let (objective, gradient) = by_hand(spec, &network, &wide(&data), &wide_params);
    let env = Environment {
        rows: ROWS,
        data: wide(&data),
        params: wide_params,
        seed: SEED,
        step: STEP,
        ..Environment::default()
    };
    let found = evaluate(&graph, &env).unwrap();
    let sink = |sink| env.sink(&graph, &found, sink).unwrap().to_vec();
    let total: f64 = (0..graph.terms().len()).map(|i| sink(Sink::Term(i))[0]).sum();
    assert!(
        (total - objective).abs() <= 1e-10 * objective.abs().max(1.0),
        "{name}: {total} where {objective} is right"
    );
    let slopes: Vec<f64> = (0..params.len()).flat_map(|i| sink(Sink::Gradient(i))).collect();
    assert_eq!(slopes.len(), gradient.len());
    for (i, (found, expected)) in slopes.iter().zip(&gradient).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= 1e-7 * expected.abs().max(1.0),
            "{name}: slope {i} is {found} where differences give {expected}"
        );
    }
    if on_gpu {
        let env = Environment { rows: ROWS, data, params, seed: SEED, step: STEP, ..Environment::default() };
        let target = Target { data_rows: ROWS, ..Target::of(&gpu(), ROWS) };
        let found = both(&gpu(), &graph, target, &env);
        let of = |wanted: fn(Sink) -> bool| found.iter().filter(move |(sink, ..)| wanted(*sink));
        let total: f64 = of(|s| matches!(s, Sink::Term(_))).map(|(_, v, _)| f64::from(v[0])).sum();
        assert!((total - objective).abs() <= 1e-5 * objective.abs(), "{name} on the GPU: {total} against {objective}");
        let mut slopes: Vec<_> = of(|s| matches!(s, Sink::Gradient(_))).map(|(s, v, _)| (*s, v.clone())).collect();
        slopes.sort_by_key(|(sink, _)| *sink);
        let slopes: Vec<f32> = slopes.into_iter().flat_map(|(_, v)| v).collect();
        let expected: Vec<f32> = gradient.iter().map(|&g| g as f32).collect();
        let error = squared_error(&slopes, &expected).sqrt();
        assert!(error <= 1e-4, "{name} on the GPU: slopes off by {error}");
    }
}

/// Wide and narrow first layers, whose Jacobian is computed in two ways, and an encoder of one layer.
#[test]
fn every_pair_of_draws_and_contraction() {
    for widths in [&[4, 3, 2][..], &[3, 5, 2], &[5, 4, 3, 2], &[3, 2]] {
        for (system, spec) in systems(widths) {
            for (method, penalty) in penalties(widths.len() - 1) {
                let name = format!("{widths:?} {system}, contraction {method}");
                check(&name, &spec.clone().penalty(penalty), false);
            }
        }
    }
}

/// The trace of the same Jacobian, for what has one in closed form.
#[test]
fn every_draw_and_a_trace() {
    for widths in [[3, 2], [2, 4]] {
        let mut seen = 0;
        for (system, mut spec) in systems(&widths) {
            if spec.latent == Latent::Deterministic {
                if let Corruption::Masking { .. } = spec.decoder[0].noise {
                    spec.decoder[0].noise = Corruption::None;
                }
                check(&format!("{widths:?} {system}, trace"), &spec.penalty(Penalty::Trace { weight: 0.7 }), true);
                seen += 1;
            }
        }
        assert_eq!(seen, 5);
    }
}

#[test]
fn draws_and_contraction_on_the_gpu() {
    let (_, spec) = systems(&[5, 4, 3]).pop().expect("all of them");
    for (method, penalty) in penalties(2) {
        if ["exact", "of the reconstruction, estimated"].contains(&method) {
            check(&format!("contraction {method}"), &spec.clone().penalty(penalty), true);
        }
    }
}

/// A linear encoder 5-4-3 whose first layer is masked: ‖J‖² is Σ over codes and inputs of (Σ_k W_ik m_k V_ko)² for the
/// masks m of the forward pass.
#[test]
fn a_masked_linear_encoder() {
    let mut spec = Spec::symmetric(&[5, 4, 3], Activation::Identity);
    spec.encoder[0].noise = Corruption::Masking { probability: 0.5, rescale: false };
    spec = spec.penalty(Penalty::Contractive { weight: 1.0, of: Mapping::Encoder, method: Method::Exact });
    let network = Network::new(&spec).unwrap();
    let graph = network.graph(Purpose::Train, false).unwrap();
    let own = network.params().iter().enumerate();
    let params: Vec<_> = own.map(|(i, t)| values(10 + i as u32, t.shape.elements(1), (-0.9, 0.9))).collect();
    let wide = |v: &Vec<f32>| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
    let params: Vec<Vec<f64>> = params.iter().map(wide).collect();
    let mut expected = 0.0;
    for row in 0..ROWS {
        let kept: Vec<usize> = (0..4).filter(|&k| draw(stream::LAYER).uniform(row, k) >= 0.5).collect();
        for (i, o) in (0..5).flat_map(|i| (0..3).map(move |o| (i, o))) {
            expected += kept.iter().map(|k| params[0][i * 4 + k] * params[2][k * 3 + o]).sum::<f64>().powi(2);
        }
    }
    expected /= ROWS as f64;
    let data = wide(&values(1, ROWS * 5, (-1.0, 1.0)));
    let env = Environment { rows: ROWS, data, params, seed: SEED, step: STEP, ..Environment::default() };
    let found = evaluate(&graph, &env).unwrap();
    let at = graph.terms().iter().position(|name| name == "contractive").unwrap();
    let found = env.sink(&graph, &found, Sink::Term(at)).unwrap()[0];
    assert!((found - expected).abs() <= 1e-12 * expected, "{found} where {expected} is right");
}
