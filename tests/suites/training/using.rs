//! Using a model: codes, reconstructions and scores, input scaling, the host's own buffers, and the async forms.

use super::*;
use crate::common::host_buffer;
use strait::gpu::Buffer;
use strait::inference::Attached;
use strait::internals::model::Network;
use strait::internals::reference::evaluate;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Error, Loss, Scaling, Source, wgpu};

/// The largest distance of two results.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn results_are_those_of_the_interpreter_and_fit_each_other() {
    // More rows than a batch of inference holds.
    let anywhere = rows(1030);
    let unit = Data::from_rows(3, values(50, 1030 * 3, (0.0, 1.0))).unwrap();
    for spec in [tiny(), tiny().loss(Loss::Bernoulli), tiny().loss(Loss::SquaredError).weight_decay(0.1)] {
        let data = if spec.loss == Loss::Bernoulli { unit.clone() } else { anywhere.clone() };
        let mut session = session(&gpu(), &spec, Training::default());
        let codes = session.encode(data.values()).unwrap();
        let back = session.reconstruct(data.values()).unwrap();
        assert!(apart(&session.decode(&codes).unwrap(), &back) < 1e-6);
        let scores = session.score(data.values()).unwrap();
        assert_eq!((codes.len(), back.len(), scores.len()), (1030 * 2, 1030 * 3, 1030));

        let network = Network::new(&spec).unwrap();
        let params: Vec<Vec<f64>> =
            session.parameters().unwrap().iter().map(|p| p.iter().map(|&v| f64::from(v)).collect()).collect();
        let inputs = vec![data.values().iter().map(|&v| f64::from(v)).collect()];
        let env = Environment { rows: 1030, inputs, params: params.clone(), ..Environment::default() };
        for (purpose, found) in [(Purpose::Encode, &codes), (Purpose::Reconstruct, &back), (Purpose::Score, &scores)] {
            let g = network.graph(purpose, false).unwrap();
            let expected: Vec<f32> = evaluate(&g, &env).unwrap()[&g.sinks()[0].1].iter().map(|&v| v as f32).collect();
            assert!(apart(found, &expected) < 1e-5, "{purpose:?}");
        }
        let decay: f64 = params.iter().step_by(2).flatten().map(|w| 0.5 * spec.weight_decay * w * w).sum();
        let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / 1030.0 + decay;
        let evaluated = session.evaluate(&data).unwrap().loss;
        assert!((evaluated / mean - 1.0).abs() < 1e-6, "{evaluated} {mean}");
        // A small request behind a large one, and one row.
        assert!(apart(&session.encode(&data.values()[..9]).unwrap(), &codes[..6]) < 1e-6);
        assert_eq!(session.encode(&data.values()[..3]).unwrap().len(), 2);
    }
}

/// Against codes, scores and weights, over rows that are not whole batches.
#[test]
fn every_term_is_evaluated_apart() {
    let l1 = strait::Penalty::L1 { weight: 0.3, layer: None };
    let spec = tiny().loss(Loss::SquaredError).penalty(l1).weight_decay(0.2).gaussian_corruption(0.5);
    let mut session = session(&gpu(), &spec, Training::default());
    let data = rows(1030);
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let scores = wide(session.score(data.values()).unwrap());
    let codes = wide(session.encode(data.values()).unwrap());
    let weights = session.parameters().unwrap().into_iter().step_by(2).map(wide).collect::<Vec<_>>().concat();
    let expected = [
        ("reconstruction", scores.iter().sum::<f64>() / 1030.0),
        ("l1", codes.iter().map(|h| 0.3 * h.abs()).sum::<f64>() / 1030.0),
        ("weight_decay", weights.iter().map(|w| 0.5 * 0.2 * w * w).sum()),
    ];
    let found = session.evaluate(&data).unwrap();
    assert_eq!(found.terms.len(), expected.len(), "{found:?}");
    for ((name, value), (wanted, sum)) in found.terms.iter().zip(expected) {
        assert_eq!(name, wanted);
        assert!((value / sum - 1.0).abs() < 2e-6, "{name}: {value} against {sum}");
    }
    let total: f64 = expected.iter().map(|(_, sum)| sum).sum();
    assert!((found.loss / total - 1.0).abs() < 2e-6, "{} against {total}", found.loss);
}

/// At 72 KiB a binding, 1,024 rows of 36 values do not fit, nor do 512.
#[test]
fn what_does_not_fit_at_once_is_done_in_smaller_batches() {
    let adapter = pollster::block_on(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        instance.enumerate_adapters(wgpu::Backends::PRIMARY).await.remove(0)
    });
    let narrow = wgpu::Limits { max_storage_buffer_binding_size: 72 << 10, ..wgpu::Limits::default() };
    let descriptor = wgpu::DeviceDescriptor { required_limits: narrow, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    let small = Gpu::adopt(device, queue);
    let spec = Spec::symmetric(&[2, 36], Activation::Tanh);
    let data = Data::from_rows(2, values(50, 1000 * 2, (-1.0, 1.0))).unwrap();
    let mut large = session(&gpu(), &spec, Training::default());
    let mut session = session(&small, &spec, Training::default());
    let codes = session.encode(data.values()).unwrap();
    assert_eq!(codes, large.encode(data.values()).unwrap());
    assert_eq!(session.decode(&codes).unwrap(), large.decode(&codes).unwrap());
    let (found, expected) = (session.evaluate(&data).unwrap().loss, large.evaluate(&data).unwrap().loss);
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    // What was found to fit is kept.
    let made = || small.device().get_internal_counters().hal.buffers.read();
    let before = made();
    session.encode(data.values()).unwrap();
    assert_eq!(made(), before);
}

#[test]
fn evaluating_needs_no_more_memory_than_training() {
    let training = Training { batch: 4, data_budget: 8 * 12, epochs: 1, ..Training::default() };
    let mut small = session(&gpu(), &tiny(), training);
    let mut large = session(&gpu(), &tiny(), Training::default());
    assert_eq!(bits(&small), bits(&large));
    let (found, expected) = (small.evaluate(rows(23)).unwrap().loss, large.evaluate(rows(23)).unwrap().loss);
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    let early = strait::EarlyStopping { validation: 0.9, patience: 1, min_delta: 0.0 };
    let mut stopping = session(&gpu(), &tiny(), Training { early_stopping: Some(early), ..training });
    assert!(stopping.fit(rows(230)).unwrap().best_validation.is_some());
}

/// Columns with a large mean, a small spread, and one constant value.
fn uneven() -> Data {
    let even = values(60, 50 * 3, (0.0, 1.0));
    let scale = |(i, v): (usize, &f32)| [1e4 + v, 1e-3 * v - 5.0, 7.25][i % 3];
    Data::from_rows(3, even.iter().enumerate().map(scale).collect()).unwrap()
}

/// A tensor of a saved model.
fn saved(session: &Session, name: &str) -> Vec<f64> {
    let file = tempfile::NamedTempFile::new().unwrap();
    session.save(file.path()).unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensors.tensor(name).unwrap().data());
    values.into_iter().map(f64::from).collect()
}

#[test]
fn scaling_is_learned_from_the_data_and_undone() {
    let data = uneven();
    let column = |c: usize| data.values().iter().skip(c).step_by(3).map(|&v| f64::from(v)).collect::<Vec<f64>>();
    for scaling in [Scaling::Unit, Scaling::Standardise] {
        // A code as wide as the data, and a linear network that copies: what comes out is what went in.
        let spec = Spec::symmetric(&[3, 3], Activation::Identity).scaling(scaling);
        let mut session = session(&gpu(), &spec, Training { epochs: 1, learning_rate: 1e-30, ..Training::default() });
        for unknown in [session.encode(&[0.0; 3]).map(|_| ()), session.evaluate(&data).map(|_| ())] {
            assert!(matches!(unknown, Err(Error::Data { .. })), "{unknown:?}");
        }
        let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        session.set_parameters(&[identity.clone(), vec![0.0; 3], identity, vec![0.0; 3]]).unwrap();
        session.fit(&data).unwrap();
        let (shift, scale) = (saved(&session, "input.shift"), saved(&session, "input.scale"));
        for c in 0..3 {
            let values = column(c);
            let count = values.len() as f64;
            let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            let mean = values.iter().sum::<f64>() / count;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
            let (start, width) = if scaling == Scaling::Unit { (low, high - low) } else { (mean, deviation) };
            assert!((shift[c] / start - 1.0).abs() < 1e-6, "{scaling:?} {c}: shift {} {start}", shift[c]);
            let expected = if c == 2 { 1.0 } else { 1.0 / width };
            assert!((scale[c] - expected).abs() <= 1e-6 * expected, "{scaling:?} {c}: scale {} {expected}", scale[c]);
        }
        // Codes are the scaled rows.
        let codes = session.encode(data.values()).unwrap();
        assert!(codes.iter().skip(2).step_by(3).all(|&v| v == 0.0), "a constant feature becomes 0");
        let mean = codes.iter().map(|&v| f64::from(v)).sum::<f64>() / 100.0;
        assert!((mean - if scaling == Scaling::Unit { 0.5 } else { 0.0 }).abs() < 0.1, "{mean}");
        let back = session.reconstruct(data.values()).unwrap();
        for (r, (&found, &expected)) in back.iter().zip(data.values()).enumerate() {
            // The last digits of 10,000 and of 5 are all that may be lost.
            assert!((found - expected).abs() <= 2e-7 * expected.abs(), "value {r}: {found} {expected}");
        }
        assert!(session.evaluate(&data).unwrap().loss < 1e-6);
        // Known once, it stays as it was, whatever is trained on next.
        session.load(rows(9)).unwrap();
        assert_eq!(saved(&session, "input.shift"), shift);
    }
}

#[test]
fn a_refused_data_set_teaches_no_scaling() {
    let spec = tiny().scaling(Scaling::Unit);
    let training = Training { batch: 8, data_budget: 12, ..Training::default() };
    let mut session = session(&gpu(), &spec, training);
    assert!(matches!(session.load(rows(23)), Err(Error::Limit { .. })));
    assert!(matches!(session.encode(&[0.0; 3]), Err(Error::Data { .. })), "the scaling is still unknown");
    // A spread whose inverse f32 cannot hold.
    let flat = Data::from_rows(3, vec![0.0, 1.0, 1.0, 1e-40, 2.0, 2.0]).unwrap();
    let refused = session.load(&flat).unwrap_err();
    assert!(matches!(&refused, Error::Data { place, .. } if place.contains("column 0")), "{refused}");
}

#[test]
fn own_buffers_give_the_same_as_slices() {
    let gpu = gpu();
    for (input, code) in [(3, 2), (4, 4), (5, 1), (8, 3), (6, 8)] {
        let spec = Spec::symmetric(&[input, code], Activation::Identity).code_activation(Activation::Sigmoid);
        let session = session(&gpu, &spec, Training::default());
        const ROWS: usize = 7;
        let data = values(70, ROWS * input, (-1.0, 1.0));
        let codes = session.encode(&data).unwrap();
        let cases = [
            (Purpose::Encode, &data, codes.clone()),
            (Purpose::Decode, &codes, session.decode(&codes).unwrap()),
            (Purpose::Reconstruct, &data, session.reconstruct(&data).unwrap()),
            (Purpose::Score, &data, session.score(&data).unwrap()),
        ];
        for (purpose, from, expected) in cases {
            let untouched = vec![-99.0; expected.len()];
            let to = Buffer::adopt(host_buffer(&gpu, &untouched));
            let from = Buffer::adopt(host_buffer(&gpu, from));
            let attached = session.attach(purpose, from, to.clone(), ROWS).unwrap();
            let width = expected.len() / ROWS;
            attached.run(3).unwrap();
            let found = gpu.read(&to, 0, expected.len()).unwrap();
            assert_eq!(apart(&found[..3 * width], &expected[..3 * width]), 0.0, "{purpose:?} {input}-{code}");
            assert_eq!(found[3 * width..], untouched[3 * width..], "{purpose:?} {input}-{code}: rows not asked for");
            attached.run(ROWS).unwrap();
            assert_eq!(gpu.read(&to, 0, expected.len()).unwrap(), expected, "{purpose:?} {input}-{code}");
            attached.run(0).unwrap();
            assert_eq!(gpu.read(&to, 0, expected.len()).unwrap(), expected, "{purpose:?} {input}-{code}: no rows");
            assert!(matches!(attached.run(ROWS + 1), Err(Error::Spec { .. })));
        }
    }
}

#[test]
fn what_cannot_be_attached_is_refused() {
    let gpu = gpu();
    let session = session(&gpu, &tiny(), Training::default());
    let buffer = |count: usize| Buffer::adopt(host_buffer(&gpu, &vec![0.0; count]));
    for purpose in [Purpose::Train, Purpose::Evaluate] {
        let refused = session.attach(purpose, buffer(12), buffer(12), 4).unwrap_err();
        assert!(matches!(&refused, Error::Spec { field, .. } if field == "purpose"), "{refused}");
    }
    let small = [
        session.attach(Purpose::Encode, buffer(11), buffer(8), 4),
        session.attach(Purpose::Encode, buffer(12), buffer(7), 4),
    ];
    for refused in small {
        assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    }
    for rows in [0, usize::MAX, usize::MAX / 4, 1 << 40, 1 << 31] {
        let refused = session.attach(Purpose::Encode, buffer(12), buffer(8), rows).unwrap_err();
        assert!(matches!(refused, Error::Limit { .. } | Error::Spec { .. }), "{rows}: {refused}");
    }
    // One that may not be bound.
    let usage = wgpu::BufferUsages::COPY_DST;
    let unbound =
        gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size: 48, usage, mapped_at_creation: false });
    let refused = session.attach(Purpose::Encode, Buffer::adopt(unbound), buffer(8), 4).unwrap_err();
    let unbound = "input buffer is a buffer of the usages COPY_DST; allowed: one whose usages have STORAGE";
    assert_eq!(refused.to_string(), unbound);
}

#[test]
fn the_async_forms_give_the_same() {
    let training = Training { batch: 4, epochs: 20, ..Training::default() };
    let data = rows(23);
    let mut blocking = session(&gpu(), &tiny(), training);
    blocking.fit(&data).unwrap();
    let values = data.values();
    let codes = blocking.encode(values).unwrap();
    let expected = (
        codes.clone(),
        blocking.decode(&codes).unwrap(),
        blocking.reconstruct(values).unwrap(),
        blocking.score(values).unwrap(),
        blocking.evaluate(&data).unwrap(),
    );
    // A device that nobody else polls.
    let own = crate::common::own_gpu();
    let mut awaiting = session(&own, &tiny(), training);
    let found = pollster::block_on(async {
        let fit = awaiting.fit_async(&data, |_| std::ops::ControlFlow::Continue(())).await?;
        assert_eq!(fit.steps, 120);
        let codes = awaiting.encode_async(values).await?;
        let back = awaiting.decode_async(&codes).await?;
        strait::Result::Ok((
            codes,
            back,
            awaiting.reconstruct_async(values).await?,
            awaiting.score_async(values).await?,
            awaiting.evaluate_async(&data).await?,
        ))
    });
    assert_eq!(bits(&awaiting), bits(&blocking));
    assert_eq!(found.unwrap(), expected);
    let with = pollster::block_on(Gpu::with_async(&strait::GpuOptions::default())).unwrap();
    assert_eq!(with.adapter(), Gpu::new().unwrap().adapter());
}

#[test]
fn a_session_goes_from_thread_to_thread() {
    fn send<T: Send>(_: &T) {}
    fn send_and_sync<T: Send + Sync>(_: &T) {}
    let mut session = session(&gpu(), &tiny(), Training { epochs: 1, ..Training::default() });
    send(&session);
    send_and_sync(session.gpu());
    let buffer = || session.gpu().buffer("rows", 12).unwrap();
    let attached: Attached = session.attach(Purpose::Encode, buffer(), buffer(), 1).unwrap();
    send_and_sync(&attached);
    {
        let fit = session.fit_async(rows(9), |_| std::ops::ControlFlow::Continue(()));
        send(&fit);
    }
    send(&session.encode_async(&[0.0; 3]));
    send(&session.evaluate_async(rows(9)));
    let there = std::thread::spawn(move || {
        session.fit(rows(9)).unwrap();
        session
    });
    assert_eq!(there.join().unwrap().steps(), 1);
}

/// A source that says and gives what it likes.
struct Odd {
    rows: usize,
    columns: usize,
    value: f32,
}

impl Source for Odd {
    fn rows(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read(&self, _: usize, out: &mut [f32]) -> strait::Result<()> {
        out.fill(self.value);
        Ok(())
    }
    fn name(&self) -> &str {
        "odd"
    }
}

#[test]
fn data_that_does_not_fit_the_model_is_refused() {
    let odd =
        |rows, columns, value| -> std::sync::Arc<dyn Source> { std::sync::Arc::new(Odd { rows, columns, value }) };
    let sources = [
        (odd(5, 4, 0.5), "odd: columns", "4"),
        (odd(5, 0, 0.5), "odd: columns", "0"),
        (odd(0, 3, 0.5), "odd: rows", "0"),
        (odd(5, 3, f32::NAN), "odd: row 0, column 0", "NaN"),
        (odd(5, 3, f32::NEG_INFINITY), "odd: row 0, column 0", "-inf"),
    ];
    for scaling in [Scaling::None, Scaling::Unit, Scaling::Standardise] {
        for (source, wanted, value) in &sources {
            let mut known = session(&gpu(), &tiny(), Training::default());
            let mut unknown = session(&gpu(), &tiny().scaling(scaling), Training::default());
            for result in [known.evaluate(source.clone()).map(|_| ()), unknown.fit(source.clone()).map(|_| ())] {
                match result {
                    Err(Error::Data { place, found, .. }) => {
                        assert_eq!((place.as_str(), found.as_str()), (*wanted, *value))
                    }
                    other => panic!("{scaling:?}: {other:?}"),
                }
            }
        }
    }
    let bernoulli = tiny().loss(Loss::Bernoulli);
    for (value, fits) in [(0.0, true), (1.0, true), (-0.01, false), (1.01, false)] {
        let mut session = session(&gpu(), &bernoulli, Training { epochs: 1, ..Training::default() });
        let result = session.fit(odd(5, 3, value));
        assert_eq!(result.is_ok(), fits, "{value}: {result:?}");
        assert!(
            fits || matches!(&result, Err(Error::Data { place, .. }) if place == "odd: row 0, column 0"),
            "{result:?}"
        );
    }
    // Scaled to [0, 1] anything fits.
    let mut scaled = session(&gpu(), &bernoulli.scaling(Scaling::Unit), Training { epochs: 1, ..Training::default() });
    scaled.fit(uneven()).unwrap();
    // Rows that are held out, evaluated or scored may lie outside; those that are trained on are counted from the first.
    let mut values = vec![0.5; 30];
    values[25] = 1.5;
    let outside = Data::from_rows(3, values.clone()).unwrap();
    let early = strait::EarlyStopping { validation: 0.3, patience: 1, min_delta: 0.0 };
    let training = Training { early_stopping: Some(early), epochs: 1, ..Training::default() };
    let mut unscaled = session(&gpu(), &tiny().loss(Loss::Bernoulli), training);
    unscaled.fit(&outside).unwrap();
    unscaled.evaluate(&outside).unwrap();
    assert!(unscaled.encode(outside.values()).is_ok(), "codes have no loss");
    values[20] = 1.5;
    let refused = unscaled.fit(Data::from_rows(3, values).unwrap());
    assert!(
        matches!(&refused, Err(Error::Data { place, found, .. })
            if place.ends_with("row 6, column 2") && found == "1.5"),
        "{refused:?}"
    );
    for session in [&mut unscaled, &mut scaled] {
        assert!(session.score(&[-9e3, 0.0, 5.0]).unwrap()[0].is_finite());
    }
    // One row held out of one leaves none.
    let early = strait::EarlyStopping { validation: 0.5, patience: 1, min_delta: 0.0 };
    let training = Training { early_stopping: Some(early), ..Training::default() };
    assert!(matches!(session(&gpu(), &tiny(), training).fit(rows(1)), Err(Error::Data { .. })));
}

#[test]
fn rows_that_are_none_are_refused() {
    let mut session = session(&gpu(), &tiny(), Training::default());
    for bad in [&[][..], &[0.0; 4], &[f32::NAN, 0.0, 0.0], &[0.0, 0.0, 0.0, 0.0, f32::INFINITY, 0.0]] {
        for result in [session.encode(bad), session.reconstruct(bad), session.score(bad)] {
            assert!(matches!(result, Err(Error::Data { .. })), "{bad:?}: {result:?}");
        }
    }
    for bad in [&[][..], &[0.0; 3], &[f32::NAN, 0.0]] {
        assert!(matches!(session.decode(bad), Err(Error::Data { .. })), "{bad:?}");
    }
    let refused = session.encode(&[0.0, 0.0, 0.0, 0.0, f32::INFINITY, 0.0]).unwrap_err().to_string();
    assert!(refused.contains("row 1, column 1"), "{refused}");
    let params = session.parameters().unwrap();
    let mut short = params.clone();
    short[1].pop();
    let mut long = params.clone();
    long[0].push(0.0);
    let mut bad = params.clone();
    bad[2][0] = f32::NAN;
    for (wrong, place) in
        [(short, "encoder.0.bias"), (long, "encoder.0.weight"), (bad, "encoder.1.weight"), (vec![], "parameters")]
    {
        let refused = session.set_parameters(&wrong).unwrap_err();
        assert!(matches!(&refused, Error::Data { place: p, .. } if p == place), "{refused}");
    }
    assert_eq!(session.parameters().unwrap(), params);
    for (tensor, values) in session.tensors().to_vec().iter().zip(&params) {
        assert_eq!(&session.parameter(&tensor.name).unwrap(), values, "{}", tensor.name);
    }
    let refused = session.parameter("encoder.9.weight").unwrap_err().to_string();
    assert!(refused.contains("encoder.9.weight") && refused.contains("decoder.1.bias"), "{refused}");
}

#[test]
fn a_model_larger_than_the_adapter_is_refused_before_anything_is_allocated() {
    let gpu = crate::common::own_gpu();
    let counted = || gpu.device().get_internal_counters().hal.buffers.read();
    let before = counted();
    // At default limits: weights of 256 MiB where a binding holds 128.
    let large = Spec::symmetric(&[8192, 8192], Activation::Identity);
    // Beyond any: 2^20 x 2^20 weights.
    let huge = Spec::symmetric(&[1 << 20, 1 << 20], Activation::Identity);
    for (spec, needs) in [(large, 8192 * 8192 * 4), (huge, 1u64 << 42)] {
        match Session::new(&gpu, &spec, Training::default()) {
            Err(Error::Limit { needs: found, allowed, .. }) => {
                assert!(found >= needs && allowed < needs, "{found} {allowed}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counted(), before);
    // A batch whose codes do not fit: 2^20 rows of 64 values are 256 MiB, and the rows are there.
    let wide = Spec::symmetric(&[1, 64], Activation::Identity);
    let mut session = session(&gpu, &wide, Training { batch: usize::MAX, ..Training::default() });
    let refused = session.fit(Data::from_rows(1, vec![0.5; 1 << 20]).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused}");
    assert_eq!(session.encode(&[0.5]).unwrap().len(), 64, "and the session is as it was");
}
