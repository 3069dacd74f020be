//! A classifier on a pretrained encoder as a run: which layers it changes, and what it need not compute again in every epoch.

use super::of_spec::{begun, phase};
use super::{Run, Step, Training};
use crate::error::{Error, Result};
use crate::graph::{Set, Sink};
use crate::model::{Purpose, Spec};

/// The sets that follow the gradient, and those that do not.
const TRAINED: Set = Set(0);

impl Run {
    /// Trains the classifier of a spec ([`Spec::supervised`]) on codes, and with it the layers of the encoder that are not
    /// `frozen`, which are named as their tensors are: `encoder.0`, or `encoder` for all. The objective is −log p(label | code), mean
    /// over the batch, and nothing else: no reconstruction, no noise, and no corruption but that missing features are missing. The
    /// rows end with their labels ([`crate::Data::labelled`]). Its one phase is called `classifier`. Where the whole encoder is frozen, codes are computed once.
    ///
    /// Where the encoder comes from is up to [`crate::train::Trainer::start_from`]: a few labels go further on one that has seen many
    /// rows without (Hinton and Salakhutdinov, 2006; Erhan and others, "Why does unsupervised pre-training help deep learning?",
    /// 2010).
    ///
    /// ```no_run
    /// use strait::train::{Run, Trainer};
    /// use strait::{Activation, Gpu, Session, Spec, Training, data, model::Supervised};
    ///
    /// let gpu = Gpu::new()?;
    /// let (train, test) = data::digits()?.split_at(1500)?;
    /// let spec = Spec::symmetric(&[64, 256, 64], Activation::Sigmoid).gaussian_corruption(0.3);
    /// let mut pretrained = Session::new(&gpu, &spec, Training { epochs: 60, ..Training::default() })?;
    /// pretrained.fit(&train)?;
    ///
    /// let spec = Spec { supervised: Some(Supervised { classes: 10, weight: 1.0 }), ..spec };
    /// let training = Training { epochs: 100, batch: 10, ..Training::default() };
    /// let mut trainer = Trainer::new(&gpu, Run::classifier(&spec, &["encoder.0"], &training)?)?;
    /// trainer.start_from(&pretrained)?;
    /// trainer.fit(train.select(&(0..50).collect::<Vec<_>>())?.labelled(10)?)?;
    /// if let Some(model) = trainer.model() {
    ///     println!("{:?}", model.classify(test.values())?);
    /// }
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Spec::check`] and [`Training::check`]; [`Error::Spec`] where the spec has no classifier, where a frozen layer is none of
    /// the encoder's, or where [`Training::early_stopping`] is set: phases look at no validation rows.
    pub fn classifier(spec: &Spec, frozen: &[&str], training: &Training) -> Result<Run> {
        let Some(supervised) = spec.supervised else {
            return Err(Error::spec("supervised", "none", "a spec with a classifier"));
        };
        let layers: Vec<String> = (0..spec.encoder.len()).map(|i| format!("encoder.{i}")).collect();
        let unknown = |name: &&&str| **name != "encoder" && !layers.iter().any(|layer| layer == **name);
        if let Some(name) = frozen.iter().find(unknown) {
            let allowed = format!("encoder, or one of its layers: {}", layers.join(", "));
            return Err(Error::spec("frozen", format!("{name:?}"), allowed));
        }
        let follows = |layer: &&String| !frozen.iter().any(|name| *name == "encoder" || name == layer);
        let mut trained: Vec<&str> = layers.iter().filter(follows).map(String::as_str).collect();
        let whole = trained.is_empty();
        trained.push("classifier");
        let mut run = begun(spec, &[("trained", &trained)], training)?;
        let (part, mut g) = (run.part()?, run.graph());
        let (classes, members) = (supervised.classes, g.members(TRAINED));
        let width = if whole { spec.code() } else { spec.input };
        let row = g.gather(width + classes, training.shuffle);
        let (rows, labels) = (g.slice(row, 0, width)?, g.slice(row, width, classes)?);
        let code = if whole { rows } else { part.infer(&mut g, Purpose::Encode, rows)? };
        let g = part.classifier_graph(g, [code, labels], |i| members.contains(&i))?;
        let cached = match whole {
            false => None,
            true => {
                // Codes, then the labels as they are.
                let mut g = run.graph();
                let row = g.gather(spec.input + classes, false);
                let (rows, labels) = (g.slice(row, 0, spec.input)?, g.slice(row, spec.input, classes)?);
                let code = part.infer(&mut g, Purpose::Encode, rows)?;
                let wide = spec.code() + classes;
                let (code, labels) = (g.pad(code, 0, wide)?, g.pad(labels, spec.code(), wide)?);
                let both = g.map([code, labels], |[code, labels]| code + labels)?;
                g.sink(Sink::Output(0), both);
                Some(part.finished(g)?)
            }
        };
        let step = Step::new("step", g, [training.update([TRAINED].into_iter())]);
        run.phases = vec![phase("classifier", [step], cached, training, &part)];
        run.check()?;
        Ok(run)
    }
}
