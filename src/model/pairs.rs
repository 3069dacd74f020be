//! A deep autoencoder as pairs of layers, each an autoencoder of its own: how greedy pretraining sees it, and how single
//! autoencoders become a deep one.

use super::{Activation, Corruption, Latent, Loss, Penalty, Scaling, Spec};
use crate::error::{Error, Result};

impl Spec {
    /// The pairs of layers that greedy pretraining trains one after the other, from the outermost on: each an autoencoder of one
    /// encoder layer and of the decoder layer that mirrors it, whose input is the code of the one before (Bengio and others,
    /// "Greedy layer-wise training of deep networks", 2007; Vincent and others, "Stacked denoising autoencoders", 2010).
    ///
    /// Each has the spec's corruption, weight decay, tying, precision and penalties on the code, and the noise of its encoder layer; a
    /// penalty on a layer is that layer's pair's alone. Noise of a decoder layer is what the next layer's input has in the whole, and
    /// would be noise on the reconstruction in a pair, whose best one is another map then: it is left aside but for the outermost pair,
    /// whose output is the spec's. The loss, the scaling and walkback are the outermost pair's: the others have MSE where the loss is MSE
    /// and squared error elsewhere, since they reconstruct codes. The latent code and unit norms are the innermost pair's. There is
    /// no classifier. Where it should be otherwise, change what this gives and use [`crate::train::Run::greedy_by`].
    ///
    /// # Errors
    /// As [`Spec::check`], of the spec and of the pairs; [`Error::Spec`] where the decoder does not mirror the encoder, or where
    /// the corruption is salt and pepper and there are several pairs: the ends of codes are not known. Missing features are the
    /// outermost pair's alone: the rows of the others are codes that are made without them.
    pub fn pairs(&self) -> Result<Vec<Spec>> {
        self.check()?;
        self.check_mirrored("a spec of pairs")?;
        let count = self.encoder.len();
        (0..count)
            .map(|i| {
                let pair = self.pair(i, i + 1 == count)?;
                pair.check().map_err(|error| error.inside(&format!("pairs[{i}]")))?;
                Ok(pair)
            })
            .collect()
    }

    /// The i-th pair, counted from the outermost.
    fn pair(&self, i: usize, innermost: bool) -> Result<Spec> {
        let (outermost, mirrored) = (i == 0, self.encoder.len() - 1 - i);
        let corruption = match self.corruption {
            Corruption::Missing { .. } if !outermost => Corruption::None,
            Corruption::SaltAndPepper { .. } if !outermost => {
                let allowed = "gaussian or masking, where codes are corrupted, too: their ends are not known";
                return Err(Error::spec("corruption", "salt_and_pepper", allowed));
            }
            _ => self.corruption.clone(),
        };
        let loss = match &self.loss {
            loss if outermost => loss.clone(),
            Loss::Mse => Loss::Mse,
            _ => Loss::SquaredError,
        };
        // Of each penalty that stays where it was.
        let stays = |penalty: &Penalty| penalty.layer().is_none_or(|layer| layer == i);
        let kept: Vec<usize> = (0..self.penalties.len()).filter(|&at| stays(&self.penalties[at])).collect();
        let mut decoder = self.decoder[mirrored].clone();
        if !outermost {
            decoder.noise = Corruption::None;
        }
        let mut pair = Spec {
            input: if outermost { self.input } else { self.encoder[i - 1].units },
            loss,
            tied: self.tied,
            weight_decay: self.weight_decay,
            scaling: if outermost { self.scaling } else { Scaling::None },
            corruption,
            latent: if innermost { self.latent } else { Latent::Deterministic },
            unit_norm: self.unit_norm && innermost,
            walkback: if outermost { self.walkback } else { 0 },
            penalties: kept.iter().map(|&at| self.penalties[at].clone().on_code()).collect(),
            ramps: Default::default(),
            precision: self.precision,
            supervised: None,
            encoder: vec![self.encoder[i].clone()],
            decoder: vec![decoder],
        };
        for (path, ramp) in &self.ramps {
            let inside = |layers: &str, at: usize| path.strip_prefix(&format!("{layers}[{at}]."));
            let penalty = kept.iter().enumerate().find_map(|(now, &at)| Some((now, inside("penalties", at)?)));
            let renamed = match (penalty, inside("encoder", i), inside("decoder", mirrored)) {
                (Some((now, rest)), ..) => format!("penalties[{now}].{rest}"),
                (_, Some(rest), _) => format!("encoder[0].{rest}"),
                (.., Some(rest)) => format!("decoder[0].{rest}"),
                _ if path.contains('[') => continue,
                _ => path.clone(),
            };
            // What a pair does not have, its classifier for example, has no ramp either.
            if pair.coefficient_mut(&renamed).is_some() {
                pair.ramps.insert(renamed, *ramp);
            }
        }
        Ok(pair)
    }

    /// The deep autoencoder of several, each of which encodes the codes of the one before: their encoders one after the other, then
    /// their decoders from the last one back. With their tensors ([`crate::Model::stack`]) it encodes and decodes as they do one after
    /// the other. [`Spec::pairs`] of a spec come to that spec again, but for what is left aside.
    ///
    /// Loss, scaling, corruption, walkback and weight decay are the first one's, the latent code and unit norms the last one's. Of the
    /// others stays what they encode and decode: where the loss of one has the sigmoid in it ([`Loss::Bernoulli`]), that is the
    /// activation of its last layer, and a variational code is its mean. A code of [`Latent::PredictiveSparse`] is the one that its
    /// encoder predicts, which is all that a deeper decoder leaves of it. What was only trained by is left aside: the other losses,
    /// corruptions and latent codes, the noise of reconstructions that are codes, and all penalties, ramps and classifiers.
    ///
    /// # Errors
    /// As [`Spec::check`]; [`Error::Spec`] where there are none, where one does not encode what the one before gives, where some have
    /// tied weights or half precision and others not, and naming what has no place between two layers: a scaling or missing features
    /// of codes, a loss whose reconstruction is more than its last layer (softmax, mixture), unit norms of any but the last.
    pub fn stack(specs: &[Spec]) -> Result<Spec> {
        Spec::stacked(specs, "specs")
    }

    /// The same, where the list of them is called so.
    pub(crate) fn stacked(specs: &[Spec], list: &str) -> Result<Spec> {
        let (Some(first), Some(last)) = (specs.first(), specs.last()) else {
            return Err(Error::spec(list, "none", "at least one"));
        };
        for (i, spec) in specs.iter().enumerate() {
            let before = i.checked_sub(1).and_then(|before| specs.get(before));
            let checked = spec.check().and_then(|()| spec.check_stacked(first, before, i + 1 == specs.len()));
            checked.map_err(|error| error.inside(&format!("{list}[{i}]")))?;
        }
        let decoders = specs.iter().enumerate().rev().flat_map(|(i, spec)| {
            let mut layers = spec.decoder.clone();
            if let (true, Some(last)) = (i > 0, layers.last_mut()) {
                // What was a reconstruction is the input of a layer.
                last.noise = Corruption::None;
                if spec.loss == Loss::Bernoulli {
                    last.activation = Activation::Sigmoid;
                }
            }
            layers
        });
        let stacked = Spec {
            latent: match last.latent {
                Latent::PredictiveSparse { .. } if specs.len() > 1 => Latent::Deterministic,
                latent => latent,
            },
            unit_norm: last.unit_norm,
            penalties: vec![],
            ramps: Default::default(),
            supervised: None,
            encoder: specs.iter().flat_map(|spec| &spec.encoder).cloned().collect(),
            decoder: decoders.collect(),
            ..first.clone()
        };
        stacked.check()?;
        Ok(stacked)
    }

    /// Fails where a stack that begins with `first` could not do what this one does after the one before.
    fn check_stacked(&self, first: &Spec, before: Option<&Spec>, innermost: bool) -> Result<()> {
        if self.tied != first.tied {
            return Err(Error::spec("tied", self.tied, format!("{}, as the first", first.tied)));
        }
        if self.precision != first.precision {
            let allowed = format!("{:?}, as the first", first.precision);
            return Err(Error::spec("precision", format!("{:?}", self.precision), allowed));
        }
        if self.unit_norm && !innermost {
            return Err(Error::spec("unit_norm", true, "false: norms are the last one's"));
        }
        let Some(before) = before else { return Ok(()) };
        if self.input != before.code() {
            return Err(Error::spec("input", self.input, format!("{}, the code of the one before", before.code())));
        }
        if self.scaling != Scaling::None {
            return Err(Error::spec("scaling", format!("{:?}", self.scaling), "None: only the input is scaled"));
        }
        if let Corruption::Missing { .. } = self.corruption {
            return Err(Error::spec("corruption", format!("{:?}", self.corruption), "none missing: only of the input"));
        }
        match self.loss {
            Loss::Softmax { .. } | Loss::Mixture { .. } => {
                let allowed =
                    "one whose reconstruction is what its last layer gives: mse, squared_error, bernoulli, gaussian";
                Err(Error::spec("loss", self.loss.name(), allowed))
            }
            _ => Ok(()),
        }
    }
}

/// What a stack calls a tensor of one of its autoencoders, whose layers come after so many of the encoder and of the decoder.
/// None where it is no layer's.
pub(crate) fn stacked_name(name: &str, encoder: usize, decoder: usize) -> Option<String> {
    [("encoder.", encoder), ("decoder.", decoder)].into_iter().find_map(|(side, after)| {
        let (layer, rest) = name.strip_prefix(side)?.split_once('.')?;
        Some(format!("{side}{}.{rest}", after + layer.parse::<usize>().ok()?))
    })
}
