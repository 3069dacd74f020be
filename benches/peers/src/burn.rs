//! Burn at the workloads: its own modules, losses written out where it has none, data resident on the device.

use std::collections::BTreeMap;

use ::burn::module::{Module, Param};
use ::burn::nn::Linear;
use ::burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use ::burn::tensor::{Device, Distribution, Tensor, TensorData, activation};

use crate::peer::{Outcome, Peer};
use crate::workload::{ENCODED, MatMul, Model, RATE, System, Task, Workload};

/// Rows in a request of the encoder.
const CHUNK: usize = 4000;

/// Makes a workload ready.
///
/// # Errors
/// What Burn reports.
pub fn start(workload: &Workload) -> Outcome<Box<dyn Peer>> {
    let device = Device::wgpu(Default::default());
    Ok(match &workload.task {
        Task::MatMul(product) => Box::new(Product::new(device, *product)),
        Task::Train(model) | Task::FirstStep(model) => Box::new(Run::new(device.autodiff(), model)),
        Task::Encode(model) => Box::new(Encoder::new(device, model)),
    })
}

fn facts(device: &Device) -> BTreeMap<String, serde_json::Value> {
    let named = device.identity();
    let facts = named.map(|id| [("adapter".into(), id.name.into()), ("driver".into(), id.fingerprint.into())]);
    facts.map(BTreeMap::from).unwrap_or_default()
}

fn matrix(device: &Device, dims: [usize; 2], values: Vec<f32>) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, dims), device)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Outcome<Vec<f32>> {
    tensor.into_data().try_to_vec().map_err(|e| format!("{e:?}").into())
}

fn sync(device: &Device) -> Outcome {
    device.sync().map_err(|e| format!("{e:?}").into())
}

/// One product.
struct Product {
    device: Device,
    product: MatMul,
    factors: [Tensor<2>; 2],
    result: Option<Tensor<2>>,
}

impl Product {
    fn new(device: Device, product: MatMul) -> Product {
        let ([da, db], [a, b]) = (product.dims(), product.factors());
        let factors = [matrix(&device, da, a), matrix(&device, db, b)];
        Product { device, product, factors, result: None }
    }
}

impl Peer for Product {
    fn check(&mut self, _: usize) -> Outcome<Vec<f64>> {
        self.run(1)?;
        let result = self.result.take().map(host).transpose()?;
        Ok(self.product.sample(&result.unwrap_or_default()))
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            let [a, b] = self.factors.clone();
            let a = if self.product.ta { a.transpose() } else { a };
            let b = if self.product.tb { b.transpose() } else { b };
            self.result = Some(a.matmul(b));
        }
        sync(&self.device)
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.device)
    }
}

/// The network.
#[derive(Module, Debug)]
struct Net {
    encoder: Vec<Linear>,
    log_variance: Option<Linear>,
    decoder: Vec<Linear>,
}

impl Net {
    fn new(device: &Device, model: &Model) -> Net {
        let mut net = Net { encoder: vec![], log_variance: None, decoder: vec![] };
        let mut tensors = model.tensors().into_iter();
        while let (Some(weight), Some(bias)) = (tensors.next(), tensors.next()) {
            let layer = Linear {
                weight: Param::from_data(TensorData::new(weight.values, weight.dims), device),
                bias: Some(Param::from_data(TensorData::new(bias.values, bias.dims), device)),
            };
            match weight.name.split_once('.') {
                Some(("encoder", _)) => net.encoder.push(layer),
                Some(("decoder", _)) => net.decoder.push(layer),
                _ => net.log_variance = Some(layer),
            }
        }
        net
    }

    /// ReLU behind every encoder layer.
    fn relu_code(&self, x: Tensor<2>) -> Tensor<2> {
        self.encoder.iter().fold(x, |h, layer| activation::relu(layer.forward(h)))
    }

    /// ReLU behind every decoder layer but the last.
    fn decode(&self, h: Tensor<2>) -> Tensor<2> {
        let last = self.decoder.len() - 1;
        self.decoder.iter().enumerate().fold(h, |h, (i, layer)| {
            let h = layer.forward(h);
            if i < last { activation::relu(h) } else { h }
        })
    }

    fn loss(&self, system: System, x: Tensor<2>) -> Tensor<1> {
        let rows = x.dims()[0] as f64;
        let squared = |r: Tensor<2>, x: Tensor<2>| (r - x).square().sum() / rows;
        match system {
            System::Plain => (self.decode(self.relu_code(x.clone())) - x).square().mean(),
            System::Contractive { weight } => {
                let first = &self.encoder[0];
                let h = activation::sigmoid(first.forward(x.clone()));
                let slopes = (h.clone() * (h.clone().neg() + 1.0)).square().sum_dim(0);
                let norms = first.weight.val().square().sum_dim(0);
                squared(self.decode(h), x) + (slopes * norms).sum() * (weight / rows)
            }
            System::Denoising { sigma } => {
                let noise = Tensor::random(x.shape(), Distribution::Normal(0.0, sigma), &x.device());
                let h = activation::sigmoid(self.encoder[0].forward(x.clone() + noise));
                squared(self.decode(h), x)
            }
            System::Variational => {
                let mean = self.encoder[0].forward(x.clone());
                let gamma = match &self.log_variance {
                    Some(layer) => layer.forward(x.clone()),
                    None => mean.zeros_like(),
                };
                let noise = Tensor::random(mean.shape(), Distribution::Normal(0.0, 1.0), &x.device());
                let logits = self.decode(mean.clone() + (gamma.clone() * 0.5).exp() * noise);
                let bernoulli = (activation::softplus(logits.clone(), 1.0) - logits * x).sum() / rows;
                let divergence = (gamma.clone().exp() + mean.square() - 1.0 - gamma).sum() * (0.5 / rows);
                bernoulli + divergence
            }
        }
    }
}

/// A training run.
struct Run {
    device: Device,
    system: System,
    batches: Vec<Tensor<2>>,
    net: Option<Net>,
    optimizer: ModuleOptimizer,
    step: usize,
}

impl Run {
    fn new(device: Device, model: &Model) -> Run {
        let (data, each) = (model.data(), model.batch * model.input());
        let batch = |rows: &[f32]| matrix(&device, [model.batch, model.input()], rows.to_vec());
        let batches = data.chunks(each).map(batch).collect();
        let net = Some(Net::new(&device, model));
        let optimizer = AdamConfig::new().with_beta_1(0.9).with_beta_2(0.999).with_epsilon(1e-8).init();
        Run { device, system: model.system, batches, net, optimizer, step: 0 }
    }

    fn step(&mut self) -> Outcome<Tensor<1>> {
        let net = self.net.take().ok_or("the network is gone")?;
        let loss = net.loss(self.system, self.batches[self.step % self.batches.len()].clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        self.net = Some(self.optimizer.step(RATE, net, gradients));
        self.step += 1;
        Ok(loss)
    }
}

impl Peer for Run {
    fn check(&mut self, steps: usize) -> Outcome<Vec<f64>> {
        let mut losses = vec![];
        for _ in 0..steps {
            losses.extend(host(self.step()?.inner())?.into_iter().map(f64::from));
        }
        Ok(losses)
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.step()?;
        }
        sync(&self.device)
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.device)
    }
}

/// Codes of many rows.
struct Encoder {
    device: Device,
    model: Model,
    net: Net,
    rows: Vec<f32>,
    codes: Vec<f32>,
}

impl Encoder {
    fn new(device: Device, model: &Model) -> Encoder {
        let net = Net::new(&device, model);
        Encoder { device, net, rows: model.rows(ENCODED), model: model.clone(), codes: vec![] }
    }
}

impl Peer for Encoder {
    fn check(&mut self, _: usize) -> Outcome<Vec<f64>> {
        self.run(1)?;
        Ok(self.model.sample(&self.codes))
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.codes.clear();
            let width = self.model.input();
            // One request is computed while the one before it is read.
            let mut pending: Option<Tensor<2>> = None;
            for chunk in self.rows.chunks(CHUNK * width) {
                let x = matrix(&self.device, [chunk.len() / width, width], chunk.to_vec());
                if let Some(codes) = pending.replace(self.net.relu_code(x)) {
                    self.codes.extend(host(codes)?);
                }
            }
            if let Some(codes) = pending {
                self.codes.extend(host(codes)?);
            }
        }
        Ok(())
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.device)
    }
}
