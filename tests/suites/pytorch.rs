//! The fixtures: 100 steps of every optimizer from given weights and batches agree with results that PyTorch made
//! (tests/fixtures/make_training.py), on the GPU and in the f64 interpreter.

use std::collections::BTreeMap;

use crate::common::gpu;
use safetensors::SafeTensors;
use serde_json::Value;
use strait::graph::{Kept, Set, Sink};
use strait::internals::graph::Layout;
use strait::internals::model::Network;
use strait::internals::reference::evaluate;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Activation, Data, Decay, Init, Loss, Optimizer, Schedule, Session, Spec, Training};

struct Fixture {
    bytes: &'static [u8],
    cases: BTreeMap<String, Value>,
}

const STEPS: usize = 100;
const BATCH: usize = 6;

impl Fixture {
    fn read() -> Fixture {
        let bytes: &[u8] = include_bytes!("../fixtures/training.safetensors");
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let cases = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
        Fixture { bytes, cases }
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(self.bytes).unwrap();
        bytemuck::pod_collect_to_vec(file.tensor(name).unwrap_or_else(|_| panic!("{name}")).data())
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(self.bytes).unwrap();
        bytemuck::pod_collect_to_vec(file.tensor(&format!("f64.{name}")).unwrap().data())
    }

    fn spec(&self, case: &Value) -> Spec {
        let activation: Activation = serde_json::from_value(case["activation"].clone()).unwrap();
        let mut spec = Spec::symmetric(&[7, 6, 3], activation).init(Init::He).code_activation(activation);
        spec.loss = serde_json::from_value::<Loss>(case["loss"].clone()).unwrap();
        spec.tied = case["tied"].as_bool().unwrap();
        spec.weight_decay = case["l2"].as_f64().unwrap();
        spec
    }

    fn training(&self, case: &Value) -> Training {
        let number = |key: &str| case[key].as_f64().unwrap();
        let (beta1, beta2) = (case["betas"][0].as_f64().unwrap(), case["betas"][1].as_f64().unwrap());
        let epsilon = number("eps");
        let optimizer = match case["optimizer"].as_str().unwrap() {
            "sgd" => Optimizer::Sgd { momentum: number("momentum"), nesterov: case["nesterov"].as_bool().unwrap() },
            "rmsprop" => Optimizer::RmsProp { alpha: number("alpha"), epsilon },
            "adam" => Optimizer::Adam { beta1, beta2, epsilon },
            "adamw" => Optimizer::AdamW { beta1, beta2, epsilon, weight_decay: number("weight_decay") },
            other => panic!("{other}"),
        };
        let schedule = &case["schedule"];
        let schedule = match schedule["kind"].as_str() {
            None => Schedule::default(),
            Some("cosine") => {
                Schedule { decay: Decay::Cosine { steps: schedule["steps"].as_u64() }, ..Schedule::default() }
            }
            Some("warmup") => Schedule { warm_up: schedule["steps"].as_u64().unwrap(), ..Schedule::default() },
            Some("step") => {
                let (every, factor) = (schedule["every"].as_u64().unwrap(), schedule["factor"].as_f64().unwrap());
                Schedule { decay: Decay::Step { every, factor }, ..Schedule::default() }
            }
            Some(other) => panic!("{other}"),
        };
        let learning_rate = number("lr");
        let clip_norm = case["clip_norm"].as_f64();
        Training {
            optimizer,
            learning_rate,
            schedule,
            clip_norm,
            batch: BATCH,
            epochs: 15,
            shuffle: false,
            ..Training::default()
        }
    }
}

/// The norm of the difference over the norm.
fn distance(found: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = found.zip(expected).map(|(f, e)| square(f - e)).sum();
    (error / expected.iter().map(|&e| square(e)).sum::<f64>()).sqrt()
}

#[test]
fn the_gpu_agrees_with_pytorch() {
    let (gpu, fixture) = (gpu(), Fixture::read());
    assert_eq!(fixture.cases.len(), 14);
    for (name, case) in &fixture.cases {
        let data = Data::from_rows(7, fixture.f32(case["data"].as_str().unwrap())).unwrap();
        let mut session = Session::new(&gpu, &fixture.spec(case), fixture.training(case)).unwrap();
        let names: Vec<String> = session.tensors().iter().map(|t| t.name.clone()).collect();
        let initial: Vec<Vec<f32>> = names.iter().map(|n| fixture.f32(&format!("initial.{n}"))).collect();
        session.set_parameters(&initial).unwrap();
        session.load(&data).unwrap();
        let losses = fixture.f64(&format!("{name}.losses"));
        let mut taken = 0;
        while taken < STEPS as u64 {
            taken += session.step((STEPS as u64 - taken).min(1 + taken)).unwrap().steps();
            while let Some(progress) = session.progress().unwrap() {
                if progress.step == 1 {
                    assert!((progress.loss / losses[0] - 1.0).abs() < 1e-5, "{name}: {} {}", progress.loss, losses[0]);
                }
            }
        }
        for (tensor, found) in names.iter().zip(session.parameters().unwrap()) {
            let expected = fixture.f64(&format!("{name}.{tensor}"));
            let error = distance(found.iter().map(|&v| f64::from(v)), &expected);
            assert!(error <= 1e-5, "{name} {tensor}: {error:e}");
        }
    }
}

#[test]
fn the_f64_interpreter_agrees_with_pytorch() {
    let fixture = Fixture::read();
    for (name, case) in &fixture.cases {
        let (spec, training) = (fixture.spec(case), fixture.training(case));
        let network = Network::new(&spec).unwrap();
        let step = network.graph(Purpose::Train, false).unwrap();
        let update = training.optimizer.graph(network.params(), training.clip_norm).unwrap();
        let layout = Layout::new(network.params());
        let data: Vec<f64> = fixture.f32(case["data"].as_str().unwrap()).into_iter().map(f64::from).collect();
        let names: Vec<String> = network.params().iter().map(|t| t.name.clone()).collect();
        let initial = |n: &String| fixture.f32(&format!("initial.{n}")).into_iter().map(f64::from).collect();
        let mut params: Vec<Vec<f64>> = names.iter().map(initial).collect();
        let zeros = vec![0.0; layout.bytes as usize / 4];
        let mut moments = BTreeMap::from([
            (Set::FIRST.arena(Kept::First(0)), zeros.clone()),
            (Set::FIRST.arena(Kept::Second(0)), zeros),
        ]);
        let losses = fixture.f64(&format!("{name}.losses"));
        let mut first_row = 0;
        for (t, expected) in losses.iter().enumerate() {
            let rows = BATCH.min(40 - first_row);
            let env =
                Environment { rows, data: data.clone(), first_row, params: params.clone(), ..Environment::default() };
            let values = evaluate(&step, &env).unwrap();
            let loss: f64 = (0..step.terms().len()).map(|i| env.sink(&step, &values, Sink::Term(i)).unwrap()[0]).sum();
            assert!((loss / expected - 1.0).abs() < 1e-6, "{name} step {t}: {loss} against {expected}");
            let grads: Vec<Vec<f64>> =
                (0..names.len()).map(|i| env.sink(&step, &values, Sink::Gradient(i)).unwrap().to_vec()).collect();
            // The table is f32 on the GPU; here its rounding is part of the error too.
            let rate = training.learning_rate * training.schedule.factor(t as u64, STEPS as u64);
            let table = training.optimizer.scalars(t as u64, rate).map(|v| f64::from(v as f32)).to_vec();
            let mut arenas = moments.clone();
            arenas.insert(Set::FIRST.arena(Kept::Values), layout.pack(network.params(), &params).unwrap());
            arenas.insert(Set::FIRST.arena(Kept::Gradients), layout.pack(network.params(), &grads).unwrap());
            let env = Environment { rows: 1, arenas, table, ..Environment::default() };
            let values = evaluate(&update, &env).unwrap();
            for (arena, moment) in &mut moments {
                if let Some(new) = env.sink(&update, &values, Sink::Update(*arena)) {
                    *moment = new.to_vec();
                }
            }
            let new = env.sink(&update, &values, Sink::Update(Set::FIRST.arena(Kept::Values))).unwrap();
            params = layout.unpack(network.params(), new).unwrap();
            first_row = (first_row + rows) % 40;
        }
        for (tensor, found) in names.iter().zip(params) {
            let expected = fixture.f64(&format!("{name}.{tensor}"));
            let error = distance(found.into_iter(), &expected);
            assert!(error <= 1e-5, "{name} {tensor}: {error:e}");
        }
    }
}
