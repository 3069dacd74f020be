//! What errors say: the value, the place, what is allowed and what to try.

use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::model::Purpose;
use strait::{Activation, Data, Error, Gpu, GpuOptions, Loss, Scaling, Session, Spec, Training};

use crate::common::gpu;

/// Checks that a text has all these words in it, and none of those.
#[track_caller]
fn says(text: &str, words: &[&str], never: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    for word in never {
        assert!(!text.contains(word), "{text:?} says {word:?}");
    }
}

fn session(spec: &Spec) -> Session {
    Session::new(&gpu(), spec, Training::default()).unwrap()
}

#[test]
fn a_run_that_diverged_is_told_what_to_try() {
    let training = Training {
        learning_rate: 1e30,
        optimizer: strait::Optimizer::Sgd { momentum: 0.0, nesterov: false },
        ..Training::default()
    };
    let spec = Spec::symmetric(&[2, 2], Activation::Identity);
    let mut session = Session::new(&gpu(), &spec, training).unwrap();
    let diverged = session.fit(Data::from_rows(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap()).unwrap_err();
    assert!(matches!(diverged, Error::Diverged { .. }), "{diverged}");
    says(&diverged.to_string(), &["is not finite", "lower learning_rate", "clip_norm", "scaling", "f16", "65504"], &[]);
}

#[test]
fn a_name_that_no_adapter_has_is_told_beside_those_that_there_are() {
    let options = GpuOptions { adapter: Some("no such thing".into()), ..GpuOptions::default() };
    let refused = Gpu::with(&options).unwrap_err();
    assert!(matches!(refused, Error::NoAdapter { .. }), "{refused}");
    let there = Gpu::adapters();
    assert!(!there.is_empty());
    let mut words = vec!["\"no such thing\""];
    words.extend(there.iter().map(|adapter| adapter.name.as_str()));
    says(&refused.to_string(), &words, &["install", "mesa-vulkan-drivers", "Some("]);
}

/// An adapter is one of those that there are, by its number or its place too; one that fits only in part is none.
#[test]
fn adapters_are_chosen_by_number_and_place() {
    let there = Gpu::adapters();
    for (at, adapter) in there.iter().enumerate() {
        let numbered = GpuOptions { index: Some(at), ..GpuOptions::default() };
        assert_eq!(Gpu::with(&numbered).unwrap().adapter(), adapter);
        let placed = GpuOptions { pci: Some(adapter.pci.to_uppercase()), ..numbered.clone() };
        assert_eq!(Gpu::with(&placed).unwrap().adapter(), adapter);
        let elsewhere = GpuOptions { pci: Some("ffff:1f:1f.7".into()), ..numbered };
        let refused = Gpu::with(&elsewhere).unwrap_err().to_string();
        says(&refused, &[&format!("number {at}"), "\"ffff:1f:1f.7\" on the PCI bus", &adapter.name], &["install"]);
    }
    let beyond = GpuOptions { index: Some(there.len()), ..GpuOptions::default() };
    let refused = Gpu::with(&beyond).unwrap_err().to_string();
    says(&refused, &[&format!("number {}", there.len()), &format!("0: {:?}", there[0].name)], &["install"]);
}

/// Numbers of many zeros have an exponent; others look as they were written.
#[test]
fn small_and_large_numbers_are_short() {
    let rate = |learning_rate| Training { learning_rate, ..Training::default() }.check().unwrap_err().to_string();
    says(&rate(1e-38), &["learning_rate is 1e-38;"], &["000"]);
    says(&rate(-2.5e-300), &["learning_rate is -2.5e-300;"], &["000"]);
    says(&rate(1e300), &["learning_rate is 1e300;"], &["000"]);
    says(&rate(-0.25), &["learning_rate is -0.25;"], &[]);
    says(&rate(0.0), &["learning_rate is 0;"], &[]);
    says(&rate(f64::NAN), &["learning_rate is NaN;"], &[]);
    let sigma = Spec::symmetric(&[2, 2], Activation::Identity).loss(Loss::Gaussian { sigma: 1e-30, learned: false });
    says(&sigma.check().unwrap_err().to_string(), &["e-60;"], &["0.0000"]);
    // Found in data, as f32 and as f64.
    let mut bernoulli = session(&Spec::symmetric(&[2, 2], Activation::Identity).loss(Loss::Bernoulli));
    let refused = bernoulli.fit(Data::from_rows(2, vec![0.0, 1.0, 0.5, f32::MAX]).unwrap()).unwrap_err();
    says(&refused.to_string(), &["row 1, column 1", "found 3.4028235e38;"], &["000"]);
    let mut scaled = session(&Spec::symmetric(&[2, 2], Activation::Identity).scaling(Scaling::Unit));
    let refused = scaled.fit(Data::from_rows(2, vec![0.0, 1.0, 1e-40, 2.0]).unwrap()).unwrap_err();
    says(&refused.to_string(), &["spread of column 0", "e-41;"], &["000000"]);
    // Whole numbers stay whole.
    let supervised = Some(strait::model::Supervised { classes: usize::MAX, weight: 1.0 });
    let spec = Spec { supervised, ..Spec::symmetric(&[2, 2], Activation::Identity) };
    says(&spec.check().unwrap_err().to_string(), &[&format!("is {};", usize::MAX)], &[]);
}

#[test]
fn a_buffer_that_is_too_small_is_named() {
    let session = session(&Spec::symmetric(&[3, 2], Activation::Identity));
    let buffer = |bytes| gpu().buffer("the host's", bytes).unwrap();
    // 6 rows of 3 and of 2 values.
    for (input, output, words) in [
        (48, 48, ["host's own buffer that is attached as input", "needs 72", "48"]),
        (80, 32, ["host's own buffer that is attached as output", "needs 48", "32"]),
    ] {
        let refused = session.attach(Purpose::Encode, buffer(input), buffer(output), 6).unwrap_err();
        assert!(matches!(refused, Error::Limit { .. }), "{refused}");
        says(&refused.to_string(), &words, &["the adapter allows", "Input(", "Output("]);
    }
    let mut g = Graph::new(vec![], vec![]);
    let (a, b) = (g.input(0, 4), g.input(1, 4));
    let sum = g.map([a, b], |[a, b]| a + b).unwrap();
    g.sink(Sink::Output(0), sum);
    let evaluator = Evaluator::new(&gpu(), &g, 2).unwrap();
    evaluator.input(1, &[0.0; 8]).unwrap();
    let refused = evaluator.input(1, &[0.0; 12]).unwrap_err();
    says(&refused.to_string(), &["input 1 of the graph", "48 bytes", "a buffer of 32 bytes"], &["Some("]);
    let refused = gpu().write(&buffer(32), 16, &[0; 20]).unwrap_err();
    says(&refused.to_string(), &["write", "20 bytes from byte 16 on", "a buffer of 32 bytes"], &["Some("]);
    let refused = gpu().read(&buffer(32), 0, 9).unwrap_err();
    says(&refused.to_string(), &["read", "36 bytes from byte 0 on", "a buffer of 32 bytes"], &["Some("]);
    let refused = gpu().write(&buffer(32), 2, &[0; 4]).unwrap_err();
    says(&refused.to_string(), &["4 bytes from byte 2 on", "whole words"], &[]);
}
