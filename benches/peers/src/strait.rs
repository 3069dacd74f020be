//! strait at the workloads, as its users use it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::strait::graph::{Graph, Shape, Sink, Tensor};
use ::strait::internals::evaluator::Evaluator;
use ::strait::internals::plan::AdapterKind;
use ::strait::internals::state::State;
use ::strait::model::{Mapping, Method};
use ::strait::{Activation, Data, Gpu, Loss, Penalty, Session, Spec, Training};

use crate::peer::{Outcome, Peer};
use crate::workload::{ENCODED, MatMul, Model, RATE, System, Task, Workload};

/// Makes a workload ready.
///
/// # Errors
/// What strait reports.
pub fn start(workload: &Workload) -> Outcome<Box<dyn Peer>> {
    let gpu = Gpu::new()?;
    Ok(match &workload.task {
        Task::MatMul(product) => Box::new(Product::new(gpu, *product)?),
        Task::Train(model) | Task::FirstStep(model) => Box::new(Run::new(gpu, model.clone())?),
        Task::Encode(model) => Box::new(Encoder::new(gpu, model.clone())?),
    })
}

fn facts(gpu: &Gpu) -> BTreeMap<String, serde_json::Value> {
    let adapter = gpu.adapter();
    BTreeMap::from([
        ("adapter".into(), adapter.name.as_str().into()),
        ("driver".into(), adapter.driver.as_str().into()),
    ])
}

/// A graph of one product.
struct Product {
    gpu: Gpu,
    evaluator: Evaluator,
    product: MatMul,
}

impl Product {
    fn new(gpu: Gpu, product: MatMul) -> Outcome<Product> {
        let [a, b] = product.dims();
        let tensor = |name: &str, dims: [usize; 2]| Tensor { name: name.into(), shape: Shape::fixed(&dims) };
        let mut graph = Graph::new(vec![tensor("a", a), tensor("b", b)], vec![]);
        let (a, b) = (graph.param(0)?, graph.param(1)?);
        let c = graph.matmul(a, b, product.ta, product.tb)?;
        graph.sink(Sink::Output(0), c);
        let evaluator = Evaluator::new(&gpu, &graph, 1)?;
        evaluator.params(&product.factors())?;
        Ok(Product { gpu, evaluator, product })
    }
}

impl Peer for Product {
    fn check(&mut self, _: usize) -> Outcome<Vec<f64>> {
        self.run(1)?;
        Ok(self.product.sample(&self.evaluator.sink(Sink::Output(0), 1)?))
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.evaluator.run(State::once(1, 0))?;
        }
        Ok(self.gpu.wait()?)
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.gpu)
    }
}

fn spec(model: &Model) -> Spec {
    let hidden = if model.system == System::Plain { Activation::Relu } else { Activation::Identity };
    let spec = Spec::symmetric(&model.widths, hidden);
    let coded = |spec: Spec| spec.code_activation(Activation::Sigmoid).loss(Loss::SquaredError);
    match model.system {
        System::Plain => spec.code_activation(Activation::Relu),
        System::Contractive { weight } => {
            coded(spec).penalty(Penalty::Contractive { weight, of: Mapping::Encoder, method: Method::ClosedForm })
        }
        System::Denoising { sigma } => coded(spec).gaussian_corruption(sigma),
        System::Variational => spec.loss(Loss::Bernoulli).variational(1.0),
    }
}

/// A session with the model's weights, batches taken in the data's order.
fn session(gpu: &Gpu, model: &Model) -> Outcome<Session> {
    let training =
        Training { learning_rate: RATE, batch: model.batch, epochs: 1 << 32, shuffle: false, ..Training::default() };
    let mut session = Session::new(gpu, &spec(model), training)?;
    let mut given: BTreeMap<_, _> = model.tensors().into_iter().map(|t| (t.name, t.values)).collect();
    let missing = |name: &String| format!("no weights for {name}");
    let named: Result<Vec<_>, _> =
        session.tensors().iter().map(|t| given.remove(&t.name).ok_or_else(|| missing(&t.name))).collect();
    session.set_parameters(&named?)?;
    Ok(session)
}

/// A training run.
struct Run {
    gpu: Gpu,
    model: Model,
    session: Session,
    /// Host time of submitting steps to a device with nothing to do, and how many they were. Mesa's software adapter
    /// does the work itself while it is submitted, so there this is no time of the host alone and is not told.
    host: (Duration, u64),
}

impl Run {
    fn new(gpu: Gpu, model: Model) -> Outcome<Run> {
        let mut session = session(&gpu, &model)?;
        session.load(Data::from_rows(model.input(), model.data())?)?;
        Ok(Run { gpu, model, session, host: (Duration::ZERO, 0) })
    }
}

impl Peer for Run {
    /// A session that is asked for whole runs changes to faster kernels behind its first reports, so such a one is what
    /// is timed. It reports means over several steps, and what it reports has to be what the other one, taking its
    /// steps one by one, came to.
    fn check(&mut self, steps: usize) -> Outcome<Vec<f64>> {
        let mut fast = session(&self.gpu, &self.model)?;
        let mut reports = vec![];
        for progress in fast.fit_iter(Data::from_rows(self.model.input(), self.model.data())?)?.take(5) {
            let progress = progress?;
            reports.push((progress.step as usize, progress.loss));
        }
        let steps = reports.last().map_or(0, |r| r.0).max(steps);
        let mut losses = Vec::with_capacity(steps);
        while losses.len() < steps {
            self.session.step(1)?;
            self.gpu.wait()?;
            while let Some(progress) = self.session.progress()? {
                losses.push(progress.loss);
            }
        }
        let mut from = 0;
        for (to, loss) in reports {
            let mean = losses[from..to].iter().sum::<f64>() / (to - from) as f64;
            if (loss - mean).abs() > 1e-4 * mean.abs() {
                return Err(format!("steps {from} to {to}: a loss of {loss} in a whole run, of {mean} apart").into());
            }
            from = to;
        }
        self.session = fast;
        losses.truncate(crate::workload::COMPARED);
        Ok(losses)
    }

    fn run(&mut self, steps: usize) -> Outcome {
        let mut left = steps as u64;
        let mut idle = true;
        while left > 0 {
            let begun = Instant::now();
            let taken = self.session.step(left)?.steps();
            if idle {
                self.host = (self.host.0 + begun.elapsed(), self.host.1 + taken);
            }
            idle = false;
            left -= taken;
            if taken == 0 {
                self.gpu.wait()?;
                while self.session.progress()?.is_some() {}
            }
        }
        self.gpu.wait()?;
        while self.session.progress()?.is_some() {}
        Ok(())
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        let mut facts = facts(&self.gpu);
        if let Some(dispatches) = self.session.dispatches_per_step() {
            facts.insert("dispatches a step".into(), dispatches.into());
        }
        if self.host.1 > 0 && self.gpu.kind() == AdapterKind::Hardware {
            let each = 1e6 * self.host.0.as_secs_f64() / self.host.1 as f64;
            facts.insert("host microseconds a step".into(), each.into());
        }
        facts
    }
}

/// Codes of many rows.
struct Encoder {
    gpu: Gpu,
    model: Model,
    session: Session,
    rows: Vec<f32>,
    codes: Vec<f32>,
}

impl Encoder {
    fn new(gpu: Gpu, model: Model) -> Outcome<Encoder> {
        let (session, rows) = (session(&gpu, &model)?, model.rows(ENCODED));
        Ok(Encoder { gpu, model, session, rows, codes: vec![] })
    }
}

impl Peer for Encoder {
    fn check(&mut self, _: usize) -> Outcome<Vec<f64>> {
        self.run(1)?;
        Ok(self.model.sample(&self.codes))
    }

    fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.codes = self.session.encode(&self.rows)?;
        }
        Ok(())
    }

    fn facts(&mut self) -> BTreeMap<String, serde_json::Value> {
        facts(&self.gpu)
    }
}
