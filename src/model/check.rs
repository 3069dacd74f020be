//! What a spec must fulfil: every check names the field, its value and what is allowed.

use super::{Activation, Corruption, Latent, Loss, Scaling, Spec};
use crate::error::{Error, Result, not_negative};

/// The largest width: 2^20 units, far beyond what an adapter's buffers hold.
pub(crate) const WIDEST: usize = 1 << 20;

/// The most penalties: with the other terms they fit a row of the ring that reports them.
const PENALTIES: usize = 6;

impl Spec {
    /// Checks that the spec can work.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the field, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        let width = |field: String, units: usize| match units {
            1..=WIDEST => Ok(()),
            _ => Err(Error::spec(field, units, format!("1 to {WIDEST}"))),
        };
        width("input".into(), self.input)?;
        for (name, layers) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            if layers.is_empty() {
                return Err(Error::spec(name, "empty", "at least one layer"));
            }
            for (i, layer) in layers.iter().enumerate() {
                width(format!("{name}[{i}].units"), layer.units)?;
            }
        }
        let last = self.decoder.len() - 1;
        let output = &self.decoder[last];
        if output.units != self.input {
            let allowed = format!("{}, the width of the input", self.input);
            return Err(Error::spec(format!("decoder[{last}].units"), output.units, allowed));
        }
        self.loss.check(self.input)?;
        let name = self.loss.name();
        if self.loss.takes_logits() && output.activation != Activation::Identity {
            let allowed = format!("identity: the {name} loss takes logits");
            return Err(Error::spec(format!("decoder[{last}].activation"), output.activation.name(), allowed));
        }
        if self.loss.range() == (0.0, 1.0) && self.scaling == Scaling::Standardise {
            let allowed = format!("none or unit: the {name} loss needs data in [0, 1]");
            return Err(Error::spec("scaling", "standardise", allowed));
        }
        not_negative("weight_decay", self.weight_decay)?;
        self.check_noise()?;
        if self.tied {
            self.check_mirrored("the weights are tied")?;
        }
        self.check_latent()?;
        if self.penalties.len() > PENALTIES {
            return Err(Error::spec("penalties", self.penalties.len(), format!("at most {PENALTIES}")));
        }
        for (i, penalty) in self.penalties.iter().enumerate() {
            penalty.check(&format!("penalties[{i}]"), self)?;
        }
        match self.supervised {
            Some(supervised) if !(2..=1 << 16).contains(&supervised.classes) => {
                Err(Error::spec("supervised.classes", supervised.classes, format!("2 to {}", 1 << 16)))
            }
            Some(supervised) => not_negative("supervised.weight", supervised.weight),
            None => Ok(()),
        }?;
        self.check_ramps()
    }

    /// Corruption of the input, noise of layers, and the walkback that needs them.
    fn check_noise(&self) -> Result<()> {
        self.corruption.check("corruption", self.input)?;
        for (name, layers) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            for (i, layer) in layers.iter().enumerate() {
                let field = format!("{name}[{i}].noise");
                layer.noise.check(&field, layer.units)?;
                if !layer.noise.anywhere() {
                    return Err(Error::spec(field, format!("{:?}", layer.noise), "none, gaussian or masking"));
                }
            }
        }
        if self.walkback > 0 {
            if self.walkback > 16 {
                return Err(Error::spec("walkback", self.walkback, "0 to 16"));
            }
            if !self.loss.is_likelihood() {
                let allowed = "a likelihood to draw from, for walkback: bernoulli, gaussian, softmax or mixture";
                return Err(Error::spec("loss", self.loss.name(), allowed));
            }
            if !self.draws_codes() {
                let allowed = "a corruption that changes something, or noise in the encoder, for walkback";
                return Err(Error::spec("corruption", format!("{:?}", self.corruption), allowed));
            }
        }
        Ok(())
    }

    /// Whether its codes of a row are drawn, where noise is: what chains and walkback alternate with.
    pub(crate) fn draws_codes(&self) -> bool {
        self.corruption.is_noise()
            || self.encoder.iter().any(|layer| layer.noise.is_noise())
            || matches!(self.latent, Latent::Gaussian { .. })
    }

    fn check_latent(&self) -> Result<()> {
        self.latent.check()?;
        let code = self.encoder.len() - 1;
        match self.latent {
            Latent::Deterministic => {}
            Latent::Gaussian { .. } => {
                let layer = &self.encoder[code];
                if layer.activation != Activation::Identity {
                    let allowed = "identity: the code is the mean of a normal posterior";
                    return Err(Error::spec(format!("encoder[{code}].activation"), layer.activation.name(), allowed));
                }
                if layer.noise != Corruption::None {
                    let allowed = "none: the posterior is the code's noise";
                    return Err(Error::spec(format!("encoder[{code}].noise"), format!("{:?}", layer.noise), allowed));
                }
            }
            Latent::PredictiveSparse { .. } => {
                if self.decoder.len() != 1 || self.decoder[0].activation != Activation::Identity {
                    let allowed = "one layer without activation, for predictive_sparse";
                    return Err(Error::spec("decoder", format!("{} layers", self.decoder.len()), allowed));
                }
                if self.loss != Loss::SquaredError {
                    return Err(Error::spec("loss", self.loss.name(), "squared_error, for predictive_sparse"));
                }
            }
        }
        Ok(())
    }

    /// Fails where the decoder has other widths than the encoder backwards; `whose` says who wants that.
    pub(super) fn check_mirrored(&self, whose: &str) -> Result<()> {
        if self.decoder.len() != self.encoder.len() {
            let allowed = format!("{}, as many as the encoder has: {whose}", self.encoder.len());
            return Err(Error::spec("decoder (number of layers)", self.decoder.len(), allowed));
        }
        for (i, layer) in self.decoder.iter().enumerate() {
            let mirrored = self.encoder.len() - 1 - i;
            let wanted = if mirrored == 0 { self.input } else { self.encoder[mirrored - 1].units };
            if layer.units != wanted {
                let allowed = format!("{wanted}, the input of encoder[{mirrored}]: {whose}");
                return Err(Error::spec(format!("decoder[{i}].units"), layer.units, allowed));
            }
        }
        Ok(())
    }
}
