//! What the benchmarks of a training step measure: each system beside the same model without it, on made data.

use strait::Draw;
use strait::model::{Mapping, Method, Supervised};
use strait::rbm::Rbm;
use strait::train::{Run, Trainer, Update};
use strait::{Activation, Corruption, Data, Gpu, Latent, Loss, Penalty, Result, Session, Spec, Training};

/// Rows of a batch.
pub const BATCH: usize = 128;
/// Features of a row.
pub const INPUT: usize = 784;
/// Units of the hidden layer.
const HIDDEN: usize = 256;
/// Classes, where there is a classifier.
const CLASSES: usize = 10;
/// Batches in the data.
const BATCHES: usize = 4;

/// What is trained.
pub enum Model {
    /// An autoencoder, by a session.
    Autoencoder(Box<Spec>),
    /// A restricted Boltzmann machine, by a trainer.
    Machine(Rbm),
    /// The innermost pair of a deep autoencoder, in the phase of a greedy run that trains it on cached codes.
    Pair(Box<Spec>),
}

/// A system whose step is measured.
pub struct Case {
    /// What it adds to the model without it.
    pub name: &'static str,
    /// The model with it.
    pub model: Model,
    /// The place in the list of the model without it.
    pub beside: usize,
    /// The most it may cost, in steps of that model, where somebody asked.
    pub asked: Option<f64>,
}

/// 784-256-784, a sigmoid code, the squared error.
fn plain() -> Spec {
    Spec::symmetric(&[INPUT, HIDDEN], Activation::Identity)
        .loss(Loss::SquaredError)
        .code_activation(Activation::Sigmoid)
}

/// 784-256-8-256-784.
fn deep() -> Spec {
    Spec::symmetric(&[INPUT, HIDDEN, 8], Activation::Sigmoid)
        .loss(Loss::SquaredError)
        .code_activation(Activation::Sigmoid)
}

fn contractive(of: Mapping, method: Method) -> Penalty {
    Penalty::Contractive { weight: 0.1, of, method }
}

/// Every system; the models that others are compared with come before them.
pub fn cases() -> Vec<Case> {
    let layer = None;
    let one = Method::Hutchinson { projections: 1 };
    let normal = Loss::Gaussian { sigma: 0.5, learned: false };
    let walkback = Spec { walkback: 1, ..plain().loss(normal).gaussian_corruption(0.2) };
    let psd = Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 10 };
    let mut dropout = plain();
    dropout.encoder[0].noise = Corruption::Masking { probability: 0.5, rescale: true };
    let missing = Corruption::Missing { keep: (0..INPUT).map(|i| i % 3 > 0).collect() };
    let supervised = Spec { supervised: Some(Supervised { classes: CLASSES, weight: 0.5 }), ..plain() };
    let first = |name, spec, beside| Case { name, model: Model::Autoencoder(Box::new(spec)), beside, asked: None };
    let beside = |beside: usize| {
        move |name: &'static str, asked: Option<f64>, spec: Spec| Case {
            name,
            model: Model::Autoencoder(Box::new(spec)),
            beside,
            asked,
        }
    };
    let (flat, stacked) = (beside(0), beside(1));
    let tied = Spec::symmetric(&[INPUT, 500], Activation::Identity)
        .loss(Loss::Bernoulli)
        .code_activation(Activation::Sigmoid)
        .tied();
    let machine = Model::Machine(Rbm::new(INPUT, 500));
    let pair = Model::Pair(Box::new(Spec::symmetric(&[INPUT, 500, 250], Activation::Identity)));
    vec![
        first("784-256-784, plain", plain(), 0),
        first("784-256-8-256-784, plain", deep(), 1),
        first("784-500-784, tied, Bernoulli", tied, 2),
        Case { name: "784-500, CD-1", model: machine, beside: 2, asked: Some(1.5) },
        first("500-250-500, a pair alone", Spec::symmetric(&[500, 250], Activation::Identity), 4),
        Case { name: "500-250-500, a phase on cached codes", model: pair, beside: 4, asked: Some(1.05) },
        flat("the same model once more: the noise of this table", None, plain()),
        flat("L1", Some(1.05), plain().penalty(Penalty::L1 { weight: 0.01, layer })),
        flat("Student-t", Some(1.05), plain().penalty(Penalty::StudentT { weight: 0.01, nu: 2.0, layer })),
        flat("KL sparsity", Some(1.05), plain().penalty(Penalty::KlSparsity { weight: 0.1, rho: 0.1, layer })),
        flat(
            "squared sparsity",
            Some(1.05),
            plain().penalty(Penalty::SquaredSparsity { weight: 0.1, rho: 0.1, layer }),
        ),
        flat("contractive, closed form", Some(1.1), plain().penalty(contractive(Mapping::Encoder, Method::ClosedForm))),
        flat("contractive, one projection", None, plain().penalty(contractive(Mapping::Encoder, one))),
        flat("contractive reconstruction, one projection", None, {
            plain().penalty(contractive(Mapping::Reconstruction, one))
        }),
        flat("trace, tied weights", None, plain().tied().penalty(Penalty::Trace { weight: 0.1 })),
        flat("weight decay", None, plain().weight_decay(1e-3)),
        flat("tied weights", None, plain().tied()),
        flat("unit norm", None, Spec { unit_norm: true, ..plain() }),
        flat("Gaussian corruption", None, plain().gaussian_corruption(0.2)),
        flat("masking corruption", None, plain().corruption(Corruption::Masking { probability: 0.3, rescale: false })),
        flat("salt and pepper", None, plain().corruption(Corruption::SaltAndPepper { probability: 0.3 })),
        flat("missing inputs", None, plain().corruption(missing)),
        flat("dropout of the code", None, dropout),
        flat("walkback, one draw", None, walkback),
        flat("classifier of 10 classes", None, supervised),
        flat("Gaussian decoder, learned sigma", None, plain().loss(Loss::Gaussian { sigma: 0.5, learned: true })),
        flat("mixture decoder of 2", None, plain().loss(Loss::Mixture { components: 2 })),
        flat("variational", None, plain().code_activation(Activation::Identity).variational(1.0)),
        flat("predictive sparse, 10 proximal steps", None, Spec { latent: psd, ..plain() }),
        stacked(
            "784-256-8, contractive, exact",
            Some(6.0),
            deep().penalty(contractive(Mapping::Encoder, Method::Exact)),
        ),
        stacked("784-256-8, contractive, one projection", None, deep().penalty(contractive(Mapping::Encoder, one))),
        stacked("784-256-8, contractive by layers", None, deep().penalty(contractive(Mapping::Layers, Method::Auto))),
    ]
}

/// What trains a system.
pub enum Learner {
    /// An autoencoder.
    Session(Box<Session>),
    /// A machine.
    Trainer(Box<Trainer>),
}

/// One that has taken its first steps, so that every kernel is compiled, also those that long runs change to.
pub fn prepare(gpu: &Gpu, model: &Model) -> Result<Learner> {
    let draw = Draw { seed: 1, stream: 0, step: 0 };
    let rows = BATCH * BATCHES;
    let columns = match model {
        Model::Autoencoder(spec) => spec.input,
        _ => INPUT,
    };
    let values: Vec<f32> = (0..rows * columns).map(|i| draw.uniform(i / columns, i % columns) as f32).collect();
    let mut data = Data::from_rows(columns, values)?;
    let (epochs, learning_rate) = (1 << 32, 1e-4);
    // Faster kernels come after the first report.
    match model {
        Model::Autoencoder(spec) => {
            if spec.supervised.is_some() {
                let labels = (0..rows).map(|row| (row % CLASSES) as u32).collect();
                data = data.with_labels(labels)?.labelled(CLASSES)?;
            }
            let training = Training { batch: BATCH, epochs, learning_rate, ..Training::default() };
            let mut session = Session::new(gpu, spec, training)?;
            session.fit_iter(data)?.take(2).try_for_each(|report| report.map(drop))?;
            Ok(Learner::Session(Box::new(session)))
        }
        Model::Machine(rbm) => {
            let update = Update::adam([Rbm::PARAMETERS], learning_rate);
            let mut trainer = Trainer::new(gpu, rbm.run(BATCH, epochs, update, 0)?)?;
            trainer.fit_iter(data)?.take(2).try_for_each(|report| report.map(drop))?;
            Ok(Learner::Trainer(Box::new(trainer)))
        }
        Model::Pair(spec) => {
            let training = Training { batch: BATCH, epochs, learning_rate, ..Training::default() };
            let mut run = Run::greedy(spec, &training)?;
            let last = run.phases.len() - 1;
            run.phases[..last].iter_mut().for_each(|phase| phase.epochs = 1);
            let mut trainer = Trainer::new(gpu, run)?;
            for _ in 0..last {
                trainer.fit(&data)?;
            }
            trainer.fit_iter(data)?.take(2).try_for_each(|report| report.map(drop))?;
            Ok(Learner::Trainer(Box::new(trainer)))
        }
    }
}

/// Takes `steps` steps and waits until they are done.
pub fn take(learner: &mut Learner, steps: u64) -> Result<()> {
    let mut left = steps;
    while left > 0 {
        match learner {
            Learner::Session(session) => {
                left -= session.step(left)?.steps();
                session.gpu().wait()?;
                while session.progress()?.is_some() {}
            }
            Learner::Trainer(trainer) => {
                left -= trainer.step(left)?.steps();
                trainer.gpu().wait()?;
                while trainer.progress()?.is_some() {}
            }
        }
    }
    Ok(())
}
