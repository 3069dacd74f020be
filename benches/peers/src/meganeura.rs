//! meganeura at the workloads. It has no random numbers: noise is drawn beforehand and handed in with the batch.

use std::collections::BTreeMap;

use ::meganeura::{CoopPolicy, Graph, Mode, NodeId, Session, SessionConfig, SessionOptions, build};

use crate::peer::{Outcome, Peer};
use crate::workload::{BATCHES, ENCODED, MatMul, Model, RATE, System, Task, Workload};

/// Rows in a request of the encoder: its graphs have fixed shapes, and this divides the rows.
const CHUNK: usize = 4000;

/// Makes a workload ready.
///
/// # Errors
/// None: meganeura panics where it fails, which ends the worker.
pub fn start(workload: &Workload) -> Outcome<Box<dyn Peer>> {
    Ok(match &workload.task {
        Task::MatMul(product) => Box::new(Product::new(*product)),
        Task::Train(model) | Task::FirstStep(model) => Box::new(Run::new(model)),
        Task::Encode(model) => Box::new(Encoder::new(model)),
    })
}

/// A session in f32: without cooperative matrices, which it would feed f16 on some devices.
fn session(graph: &Graph, mode: Mode) -> Session {
    let runtime = SessionOptions { coop: CoopPolicy::Disabled, ..SessionOptions::default() };
    build(graph, SessionConfig { mode, runtime, ..SessionConfig::default() }).0
}

fn facts(session: &Session) -> BTreeMap<String, serde_json::Value> {
    let device = session.device_information();
    BTreeMap::from([
        ("adapter".into(), device.device_name.as_str().into()),
        ("driver".into(), format!("{} {}", device.driver_name, device.driver_info).into()),
        ("dispatches in the plan".into(), session.plan().dispatches.len().into()),
    ])
}

/// One product.
struct Product {
    session: Session,
    product: MatMul,
}

impl Product {
    fn new(product: MatMul) -> Product {
        let mut g = Graph::new();
        let [da, db] = product.dims();
        let (a, b) = (g.input("a", &da), g.parameter("b", &db));
        let c = match (product.ta, product.tb) {
            (false, false) => g.matmul(a, b),
            (false, true) => g.matmul_bt(a, b),
            (true, false) => g.matmul_at(a, b),
            (true, true) => {
                let a = g.transpose(a);
                g.matmul_bt(a, b)
            }
        };
        g.set_outputs(vec![c]);
        let mut session = session(&g, Mode::Inference);
        let [a, b] = product.factors();
        session.set_input("a", &a);
        session.set_parameter("b", &b);
        Product { session, product }
    }
}

impl Peer for Product {
    fn check(&mut self, _: usize) -> Outcome<Vec<f64>> {
        self.session.tune();
        self.run(1)?;
        Ok(self.product.sample(&self.session.read_output(self.product.m * self.product.n)))
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.session.step();
        }
        self.session.wait();
        Ok(())
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.session)
    }
}

/// x W + b.
fn dense(g: &mut Graph, x: NodeId, (name, from, to): &(String, usize, usize)) -> NodeId {
    let weight = g.parameter(&format!("{name}.weight"), &[*from, *to]);
    let bias = g.parameter(&format!("{name}.bias"), &[*to]);
    let product = g.matmul(x, weight);
    g.bias_add(product, bias)
}

/// ReLU behind every encoder layer.
fn relu_code(g: &mut Graph, model: &Model, x: NodeId) -> NodeId {
    let layers = model.layers();
    let mut h = x;
    for layer in layers.iter().filter(|l| l.0.starts_with("encoder")) {
        h = dense(g, h, layer);
        h = g.relu(h);
    }
    h
}

/// ReLU behind every decoder layer but the last.
fn decode(g: &mut Graph, model: &Model, code: NodeId) -> NodeId {
    let layers: Vec<_> = model.layers().into_iter().filter(|l| l.0.starts_with("decoder")).collect();
    let mut h = code;
    for (i, layer) in layers.iter().enumerate() {
        h = dense(g, h, layer);
        if i + 1 < layers.len() {
            h = g.relu(h);
        }
    }
    h
}

/// Σ x times a factor, of one value.
fn sum(g: &mut Graph, x: NodeId, factor: f64) -> NodeId {
    let (sum, factor) = (g.sum_all(x), g.scalar(factor as f32));
    g.mul(sum, factor)
}

fn difference(g: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let b = g.neg(b);
    g.add(a, b)
}

fn loss(g: &mut Graph, model: &Model, x: NodeId) -> NodeId {
    let each = 1.0 / model.batch as f64;
    let first = model.layers().swap_remove(0);
    let squared = |g: &mut Graph, r: NodeId| {
        let d = difference(g, r, x);
        let d = g.mul(d, d);
        sum(g, d, each)
    };
    match model.system {
        System::Plain => {
            let code = relu_code(g, model, x);
            let r = decode(g, model, code);
            g.mse_loss(r, x)
        }
        System::Contractive { weight } => {
            let W { product, weight: w } = W::of(g, x, &first);
            let h = g.sigmoid(product);
            let r = decode(g, model, h);
            let error = squared(g, r);
            let square = g.mul(h, h);
            let slope = difference(g, h, square);
            let slopes = g.mul(slope, slope);
            let norms = g.mul(w, w);
            // Sums over rows are products with ones.
            let ones = |g: &mut Graph, count: usize| g.constant(vec![1.0; count], &[1, count]);
            let (batch, inputs) = (ones(g, model.batch), ones(g, model.input()));
            let (slopes, norms) = (g.matmul(batch, slopes), g.matmul(inputs, norms));
            let both = g.mul(slopes, norms);
            let penalty = sum(g, both, weight * each);
            g.add(error, penalty)
        }
        System::Denoising { .. } => {
            let noise = g.input("noise", &[model.batch, model.input()]);
            let corrupted = g.add(x, noise);
            let h = dense(g, corrupted, &first);
            let h = g.sigmoid(h);
            let r = decode(g, model, h);
            squared(g, r)
        }
        System::Variational => {
            let shape = [model.batch, model.code()];
            let mean = dense(g, x, &first);
            let gamma = dense(g, x, &("log_variance".into(), model.input(), model.code()));
            let noise = g.input("noise", &shape);
            let half = g.constant(vec![0.5; shape[0] * shape[1]], &shape);
            let sigma = g.mul(gamma, half);
            let sigma = g.exp(sigma);
            let drawn = g.mul(sigma, noise);
            let z = g.add(mean, drawn);
            let logits = decode(g, model, z);
            let normaliser = g.softplus(logits, 1.0);
            let product = g.mul(logits, x);
            let bernoulli = difference(g, normaliser, product);
            let bernoulli = sum(g, bernoulli, each);
            let (variance, square) = (g.exp(gamma), g.mul(mean, mean));
            let divergence = g.add(variance, square);
            let divergence = difference(g, divergence, gamma);
            let divergence = sum(g, divergence, 0.5 * each);
            let constant = g.scalar(-0.5 * shape[1] as f32);
            let divergence = g.add(divergence, constant);
            g.add(bernoulli, divergence)
        }
    }
}

/// A layer whose weights are needed apart.
struct W {
    product: NodeId,
    weight: NodeId,
}

impl W {
    fn of(g: &mut Graph, x: NodeId, (name, from, to): &(String, usize, usize)) -> W {
        let weight = g.parameter(&format!("{name}.weight"), &[*from, *to]);
        let bias = g.parameter(&format!("{name}.bias"), &[*to]);
        let product = g.matmul(x, weight);
        W { product: g.bias_add(product, bias), weight }
    }
}

/// A training run.
struct Run {
    session: Session,
    batches: Vec<Vec<f32>>,
    noise: Vec<Vec<f32>>,
    parameters: usize,
    step: usize,
}

impl Run {
    fn new(model: &Model) -> Run {
        let mut g = Graph::new();
        let x = g.input("x", &[model.batch, model.input()]);
        let loss = loss(&mut g, model, x);
        g.set_outputs(vec![loss]);
        let mut session = session(&g, Mode::Training);
        let tensors = model.tensors();
        let parameters = tensors.len();
        for tensor in tensors {
            session.set_parameter(&tensor.name, &tensor.values);
        }
        session.set_adam(RATE as f32, 0.9, 0.999, 1e-8);
        let batches = model.data().chunks(model.batch * model.input()).map(<[f32]>::to_vec).collect();
        let drawn = |width: usize, sigma: f64| {
            let scaled =
                |stream| model.noise(stream, model.batch * width).into_iter().map(|v| v * sigma as f32).collect();
            (0..BATCHES as u64).map(scaled).collect()
        };
        let noise = match model.system {
            System::Denoising { sigma } => drawn(model.input(), sigma),
            System::Variational => drawn(model.code(), 1.0),
            _ => vec![],
        };
        Run { session, batches, noise, parameters, step: 0 }
    }

    fn step(&mut self) {
        let at = self.step % self.batches.len();
        self.session.set_input("x", &self.batches[at]);
        if let Some(noise) = self.noise.get(at) {
            self.session.set_input("noise", noise);
        }
        self.session.step();
        self.step += 1;
    }
}

impl Peer for Run {
    fn check(&mut self, steps: usize) -> Outcome<Vec<f64>> {
        self.session.tune();
        let mut losses = vec![];
        for _ in 0..steps {
            self.step();
            self.session.wait();
            losses.push(f64::from(self.session.read_loss()));
        }
        Ok(losses)
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.step();
        }
        self.session.wait();
        Ok(())
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        let mut facts = facts(&self.session);
        // Adam takes one dispatch a parameter, outside the plan.
        facts.insert("dispatches a step".into(), (self.session.plan().dispatches.len() + self.parameters).into());
        facts
    }
}

/// Codes of many rows.
struct Encoder {
    session: Session,
    model: Model,
    rows: Vec<f32>,
    codes: Vec<f32>,
}

impl Encoder {
    fn new(model: &Model) -> Encoder {
        let mut g = Graph::new();
        let x = g.input("x", &[CHUNK, model.input()]);
        let code = relu_code(&mut g, model, x);
        g.set_outputs(vec![code]);
        let mut session = session(&g, Mode::Inference);
        for tensor in model.tensors().into_iter().filter(|t| t.name.starts_with("encoder")) {
            session.set_parameter(&tensor.name, &tensor.values);
        }
        Encoder { session, rows: model.rows(ENCODED), model: model.clone(), codes: vec![] }
    }
}

impl Peer for Encoder {
    fn check(&mut self, _: usize) -> Outcome<Vec<f64>> {
        self.session.tune();
        self.run(1)?;
        Ok(self.model.sample(&self.codes))
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.codes.clear();
            for chunk in self.rows.chunks_exact(CHUNK * self.model.input()) {
                self.session.set_input("x", chunk);
                self.session.step();
                self.session.wait();
                self.codes.extend(self.session.read_output(CHUNK * self.model.code()));
            }
        }
        Ok(())
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.session)
    }
}
