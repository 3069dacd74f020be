//! Half precision: what is rounded and what is not, on the GPU and in the interpreters, and that models train with it.

use crate::common::{both, gpu, squared_error, values};
use crate::what_this_device_lacks::{Need, has};
use half::f16;
use strait::graph::{Graph, Shape, Sink, Tensor};
use strait::internals::model::Network;
use strait::internals::plan::{Limits, Recording, Role, Target};
use strait::internals::reference::evaluate;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Activation, Error, Gpu, Loss, Penalty, Precision, Session, Spec, Training, data};

const ROWS: usize = 13;

/// tanh(x W) V, with x also read by others.
fn two_products() -> (Graph, Environment<f32>) {
    let tensor = |name: &str, dims: &[usize]| Tensor { name: name.into(), shape: Shape::fixed(dims) };
    let mut g = Graph::new(vec![tensor("w", &[7, 9]), tensor("v", &[9, 5])], vec![]);
    let (x, w, v) = (g.input(0, 7), g.param(0).unwrap(), g.param(1).unwrap());
    let product = g.matmul(x, w, false, false).unwrap();
    let h = g.map([product], |[z]| z.tanh()).unwrap();
    let out = g.matmul(h, v, false, false).unwrap();
    let same = g.map([x], |[x]| 1.0 * x).unwrap();
    g.sink(Sink::Output(0), out);
    g.sink(Sink::Output(1), same);
    g.sink(Sink::Output(2), h);
    let drawn = |stream, count| values(stream, count, (-1.0, 1.0));
    let env = Environment {
        rows: ROWS,
        inputs: vec![drawn(1, ROWS * 7)],
        params: vec![drawn(2, 63), drawn(3, 45)],
        ..Environment::default()
    };
    (g.halved(), env)
}

#[test]
fn factors_are_rounded_and_nothing_else() {
    if !has("half::factors_are_rounded_and_nothing_else", Need::F16) {
        return;
    }
    let (graph, env) = two_products();
    let round = |v: f32| f64::from(f16::from_f32(v));
    let (x, w, v) = (&env.inputs[0], &env.params[0], &env.params[1]);
    let h: Vec<f64> = (0..ROWS * 9)
        .map(|i| (0..7).map(|k| round(x[i / 9 * 7 + k]) * round(w[k * 9 + i % 9])).sum::<f64>().tanh())
        .collect();
    let out: Vec<f64> =
        (0..ROWS * 5).map(|i| (0..9).map(|k| round(h[i / 5 * 9 + k] as f32) * round(v[k * 5 + i % 5])).sum()).collect();
    for (sink, found, interpreted) in both(&gpu(), &graph, Target::of(&gpu(), ROWS), &env) {
        let expected: Vec<f64> = match sink {
            Sink::Output(0) => out.clone(),
            Sink::Output(1) => x.iter().map(|&x| f64::from(x)).collect(),
            _ => h.clone(),
        };
        for ((f, i), e) in found.iter().zip(&interpreted).zip(expected) {
            // A hidden value may lie so near the middle of two numbers that it is rounded the other way.
            let allowed = if sink == Sink::Output(0) { 1e-3 } else { 2e-6 };
            assert!((f64::from(*f) - e).abs() <= allowed, "{sink:?} on the GPU: {f} against {e}");
            assert!((f64::from(*i) - e).abs() <= allowed, "{sink:?} in the interpreter: {i} against {e}");
        }
    }
}

/// What lies in half precision was rounded before, so it makes no difference where it lies.
#[test]
fn memory_in_half_precision_changes_no_bit() {
    if !has("half::memory_in_half_precision_changes_no_bit", Need::F16) {
        return;
    }
    let (graph, env) = two_products();
    let gpu = gpu();
    let run = |optimise| {
        let target = Target { optimise, ..Target::of(&gpu, ROWS) };
        let halves = Recording::new(&graph, target.clone())
            .unwrap()
            .buffers
            .iter()
            .filter(|(r, _)| matches!(r, Role::Half(_)))
            .count();
        (halves, both(&gpu, &graph, target, &env))
    };
    let ((some, planned), (none, apart)) = (run(true), run(false));
    assert!(some >= 3 && none == 0, "{some} and {none} buffers in half precision");
    for ((sink, planned, _), (_, apart, _)) in planned.iter().zip(&apart) {
        assert_eq!(planned, apart, "{sink:?}");
    }
}

/// Every number of 16 bits, what lies in the middle of neighbours, and the f32 next to it on both sides.
#[test]
fn rounding_is_that_of_the_format() {
    let mut values = Vec::new();
    for bits in 0..=u16::MAX {
        let half = f16::from_bits(bits).to_f32();
        let middle = f32::from_bits(half.to_bits() + 0x1000);
        let near = [0, 1, u32::MAX].map(|step| f32::from_bits(middle.to_bits().wrapping_add(step)));
        values.extend([half].into_iter().chain(near));
        // Numbers below 2^-14 lie closer: their middles are odd multiples of 2^-25.
        values.push(half + 0.5f32.powi(25));
    }
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 64);
    let y = g.map([x], |[x]| x.half()).unwrap();
    g.sink(Sink::Output(0), y);
    let rows = values.len() / 64;
    let env = Environment { rows, inputs: vec![values.clone()], ..Environment::default() };
    let (_, found, interpreted) = both(&gpu(), &g, Target::of(&gpu(), rows), &env).remove(0);
    for ((value, found), interpreted) in values.iter().zip(found).zip(interpreted) {
        let expected = f16::from_f32(*value).to_f32();
        let same = |v: f32| v.to_bits() == expected.to_bits() || (v.is_nan() && expected.is_nan());
        assert!(same(found) && same(interpreted), "{value:e}: {found:e} and {interpreted:e} for {expected:e}");
    }
}

fn systems() -> Vec<(&'static str, Spec)> {
    let base = || Spec::symmetric(&[6, 9, 4], Activation::Tanh).code_activation(Activation::Sigmoid);
    vec![
        ("plain", base()),
        ("squared error", base().loss(Loss::SquaredError)),
        ("bernoulli, tied", base().loss(Loss::Bernoulli).tied()),
        ("sparse", base().penalty(Penalty::KlSparsity { weight: 0.1, rho: 0.2, layer: None })),
        ("denoising, decay", base().gaussian_corruption(0.3).weight_decay(0.1)),
        ("variational", base().code_activation(Activation::Identity).variational(0.5)),
    ]
}

/// The gradients of a batch in f64, all in one; the inputs between 0 and `high`, parameters up to 0.7 times that.
fn gradients(spec: &Spec, rows: usize, high: f64) -> Vec<f64> {
    let network = Network::new(spec).unwrap();
    let graph = network.graph(Purpose::Train, false).unwrap();
    let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<f64>>();
    let own = network.params().iter().enumerate();
    let env = Environment {
        rows,
        data: wide(values(1, rows * spec.input, (0.0, high))),
        params: own.map(|(i, t)| wide(values(10 + i as u32, t.shape.elements(1), (-0.7 * high, 0.7 * high)))).collect(),
        seed: 5,
        ..Environment::default()
    };
    let found = evaluate(&graph, &env).unwrap();
    (0..network.params().len()).flat_map(|p| env.sink(&graph, &found, Sink::Gradient(p)).unwrap().to_vec()).collect()
}

#[test]
fn gradients_are_those_of_single_precision_to_its_tolerance() {
    // Small slopes of a mean over so many rows lie far below what 16 bits hold, unless they are scaled.
    let large = systems().into_iter().take(2).map(|(name, spec)| (name, spec, 20_000, 0.02));
    let small = systems().into_iter().map(|(name, spec)| (name, spec, ROWS, 1.0));
    for (name, spec, rows, high) in small.chain(large) {
        let [single, half] =
            [Precision::F32, Precision::F16].map(|p| gradients(&spec.clone().precision(p), rows, high));
        let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let error = squared_error(&narrow(&half), &narrow(&single)).sqrt();
        assert!(error > 1e-6 && error < 3e-3, "{name}, {rows} rows: {error}");
    }
}

/// Terms whose slopes are far apart: each in the range of 16 bits, and none lost beside another.
#[test]
fn heavy_and_light_terms_go_together() {
    let base = || Spec::symmetric(&[784, 12, 6], Activation::Tanh).code_activation(Activation::Sigmoid);
    let code = || base().code_activation(Activation::Identity);
    let kl = |weight, layer| Penalty::KlSparsity { weight, rho: 0.05, layer };
    let exact = |weight| Penalty::Contractive { weight, of: Default::default(), method: strait::model::Method::Exact };
    let sigmoid = || {
        let mut spec = base();
        spec.encoder[0].activation = Activation::Sigmoid;
        spec
    };
    let specs = [
        ("sparse code", base().penalty(kl(100.0, None))),
        ("sparse hidden layer", sigmoid().penalty(kl(100.0, Some(0)))),
        ("both", sigmoid().penalty(kl(1e4, Some(0))).penalty(kl(1e-3, None))),
        ("variational", code().variational(100.0)),
        ("variational, light", code().loss(Loss::SquaredError).variational(1e-4)),
        ("l1", base().penalty(Penalty::L1 { weight: 1e5, layer: None })),
        ("contraction", base().penalty(exact(1e3))),
        ("narrow gaussian", code().loss(Loss::Gaussian { sigma: 1e-3, learned: false }).variational(1.0)),
        ("decay", base().weight_decay(10.0).penalty(kl(50.0, None))),
    ];
    for (name, spec) in specs {
        let [single, half] = [Precision::F32, Precision::F16].map(|p| gradients(&spec.clone().precision(p), 16, 0.2));
        let network = Network::new(&spec).unwrap();
        let mut at = 0;
        for tensor in network.params() {
            let range = at..at + tensor.shape.elements(1);
            at = range.end;
            let narrow = |v: &[f64]| v[range.clone()].iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let error = squared_error(&narrow(&half), &narrow(&single)).sqrt();
            assert!(error < 5e-3, "{name}, {}: {error}", tensor.name);
        }
    }
}

#[test]
fn digits_train_as_well_as_in_single_precision() {
    if !has("half::digits_train_as_well_as_in_single_precision", Need::F16) {
        return;
    }
    let gpu = Gpu::new().expect("an adapter");
    let loss = |precision| {
        let spec = Spec::symmetric(&[64, 32, 8], Activation::Elu).precision(precision);
        let training = Training { batch: 64, epochs: 8, learning_rate: 3e-3, ..Training::default() };
        let mut session = Session::new(&gpu, &spec, training).unwrap();
        let before = session.evaluate(data::digits().unwrap()).unwrap().loss;
        session.fit(data::digits().unwrap()).unwrap();
        (before, session.evaluate(data::digits().unwrap()).unwrap().loss)
    };
    let ((before, single), (_, half)) = (loss(Precision::F32), loss(Precision::F16));
    assert!((half / single - 1.0).abs() < 0.03, "{half} against {single}");
    assert!(half < 0.4 * before, "{half} after {before}");
}

#[test]
fn a_device_without_16_bits_is_refused_and_the_spec_says_so() {
    let spec = Spec::symmetric(&[6, 3], Activation::Relu).precision(Precision::F16);
    assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec);
    assert!(spec.to_toml().unwrap().contains("precision = \"f16\""));
    let adapters = pollster::block_on(wgpu::Instance::default().enumerate_adapters(wgpu::Backends::PRIMARY));
    let (device, queue) = pollster::block_on(adapters[0].request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let bare = Gpu::adopt(device, queue);
    assert!(bare.limits() == Limits { f16: false, subgroup: 0, int64: false, ..bare.limits() });
    match Session::new(&bare, &spec, Training::default()) {
        Err(Error::Spec { field, value, .. }) => assert_eq!((field.as_str(), value.as_str()), ("precision", "f16")),
        other => panic!("{other:?}"),
    }
}
