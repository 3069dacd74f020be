//! A deep autoencoder as pairs of layers, each an autoencoder of its own: how greedy pretraining sees it, and how single
//! autoencoders become a deep one.

use super::{Corruption, Latent, Loss, Penalty, Scaling, Spec};
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
    /// their decoders from the last one back. Loss, scaling, corruption, walkback, weight decay and precision are the first one's,
    /// the latent code and unit norms the last one's; penalties, ramps and classifiers are left aside.
    ///
    /// # Errors
    /// As [`Spec::check`]; [`Error::Spec`] where there are none, where one does not encode what the one before gives, or where
    /// only some have tied weights.
    pub fn stack(specs: &[Spec]) -> Result<Spec> {
        let (Some(first), Some(last)) = (specs.first(), specs.last()) else {
            return Err(Error::spec("specs", "none", "at least one"));
        };
        for (i, pair) in specs.windows(2).enumerate() {
            let place = |field: &str| format!("specs[{}].{field}", i + 1);
            if pair[1].input != pair[0].code() {
                let allowed = format!("{}, the code of the one before", pair[0].code());
                return Err(Error::spec(place("input"), pair[1].input, allowed));
            }
            if pair[1].tied != first.tied {
                return Err(Error::spec(place("tied"), pair[1].tied, format!("{}, as the first", first.tied)));
            }
        }
        let stacked = Spec {
            latent: last.latent,
            unit_norm: last.unit_norm,
            penalties: vec![],
            ramps: Default::default(),
            supervised: None,
            encoder: specs.iter().flat_map(|spec| &spec.encoder).cloned().collect(),
            decoder: specs.iter().rev().flat_map(|spec| &spec.decoder).cloned().collect(),
            ..first.clone()
        };
        stacked.check()?;
        Ok(stacked)
    }
}
