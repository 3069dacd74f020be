//! Losses and penalties of the caller's own: a spec names them and has their numbers, the caller gives what the names mean.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::loss::Decoded;
use super::{Loss, Penalty, Spec};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Shape};

/// Where a spec names a loss of the caller's own.
const LOSS: &str = "loss.own";

/// What strait calls terms that are no penalties.
const TERMS: [&str; 6] = ["reconstruction", "kl", "sparsity", "prediction", "supervised", "weight_decay"];

/// What a reconstruction costs. Gradients follow from the nodes that it adds; it trains as fast as strait's own.
///
/// The loss of Huber ("Robust estimation of a location parameter", 1964), which is a square near 0 and a straight line beyond δ:
///
/// ```no_run
/// use strait::graph::{Compare, Graph, NodeId, Over};
/// use strait::model::{Decoded, RowLoss};
/// use strait::{Activation, Error, Gpu, Loss, Result, Session, Spec, Training, data};
///
/// struct Huber;
///
/// impl RowLoss for Huber {
///     fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, numbers: &[f64]) -> Result<NodeId> {
///         let delta = numbers[0];
///         let each = g.map([decoded.output, target], |[r, x]| {
///             let off = (r - x).abs();
///             let line = delta * (&off - 0.5 * delta);
///             off.select(Compare::Less, &delta.into(), 0.5 * off.square(), line)
///         })?;
///         Ok(g.sum(Over::Columns, each))
///     }
///
///     fn check(&self, numbers: &[f64]) -> Result<()> {
///         match numbers {
///             [delta] if *delta > 0.0 => Ok(()),
///             _ => Err(Error::spec("numbers", format!("{numbers:?}"), "one above 0: where the line begins")),
///         }
///     }
/// }
///
/// let spec = Spec::symmetric(&[64, 32, 8], Activation::Elu).loss(Loss::own("huber", [0.1], Huber));
/// Session::new(&Gpu::new()?, &spec, Training::default())?.fit(data::digits()?)?;
/// # Ok::<(), strait::Error>(())
/// ```
pub trait RowLoss: Send + Sync {
    /// Adds the loss of each row, [batch, 1], where the rows of `target`, [batch, n], were decoded to `decoded`.
    ///
    /// # Errors
    /// [`Error::Shape`] or whatever else hinders it.
    fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, numbers: &[f64]) -> Result<NodeId>;

    /// Adds what the decoder expects the input to be, [batch, n]: its outputs, unless something else is said here.
    ///
    /// # Errors
    /// As [`RowLoss::rows`].
    fn mean(&self, g: &mut Graph, decoded: Decoded, numbers: &[f64]) -> Result<NodeId> {
        let _ = (g, numbers);
        Ok(decoded.output)
    }

    /// Checks a spec's numbers.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the number and what is allowed.
    fn check(&self, numbers: &[f64]) -> Result<()> {
        let _ = numbers;
        Ok(())
    }
}

/// What the output h of a layer of the encoder costs. Gradients follow from the nodes that it adds.
///
/// How far a code is from having one active unit, (Σ |h|)²/Σ h² (Hoyer, "Non-negative matrix factorization with sparseness
/// constraints", 2004, measures sparseness by its root):
///
/// ```
/// use strait::graph::{Graph, NodeId, Over};
/// use strait::model::RowPenalty;
/// use strait::{Activation, Penalty, Result, Spec};
///
/// struct Spread;
///
/// impl RowPenalty for Spread {
///     fn rows(&self, g: &mut Graph, h: NodeId, _: &[f64]) -> Result<NodeId> {
///         let (size, square) = (g.map([h], |[h]| h.abs())?, g.map([h], |[h]| h.square())?);
///         let (sizes, squares) = (g.sum(Over::Columns, size), g.sum(Over::Columns, square));
///         g.map([sizes, squares], |[s, q]| s.square() / (q + 1e-6))
///     }
/// }
///
/// let spec = Spec::symmetric(&[64, 32, 8], Activation::Elu).penalty(Penalty::own("spread", 0.01, [], Spread));
/// spec.check()?;
/// # Ok::<(), strait::Error>(())
/// ```
pub trait RowPenalty: Send + Sync {
    /// Adds the penalty of each row without its weight, [batch, 1], for outputs h, [batch, units].
    ///
    /// # Errors
    /// As [`RowLoss::rows`].
    fn rows(&self, g: &mut Graph, h: NodeId, numbers: &[f64]) -> Result<NodeId>;

    /// Checks a spec's numbers.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the number and what is allowed.
    fn check(&self, numbers: &[f64]) -> Result<()> {
        let _ = numbers;
        Ok(())
    }
}

/// Something of the caller's own in a spec: its name and its numbers, which files keep, and what the name means, which they do
/// not: see [`Spec::given`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Own<T: ?Sized> {
    name: String,
    #[serde(default)]
    numbers: Vec<f64>,
    #[serde(skip)]
    given: Option<Arc<T>>,
}

/// A [`RowLoss`] in a spec.
pub(crate) type OwnLoss = Own<dyn RowLoss>;

/// A [`RowPenalty`] in a spec.
pub(crate) type OwnPenalty = Own<dyn RowPenalty>;

impl<T: ?Sized> Clone for Own<T> {
    fn clone(&self) -> Own<T> {
        Own { name: self.name.clone(), numbers: self.numbers.clone(), given: self.given.clone() }
    }
}

/// By what files keep.
impl<T: ?Sized> PartialEq for Own<T> {
    fn eq(&self, other: &Own<T>) -> bool {
        self.name == other.name && self.numbers == other.numbers
    }
}

impl<T: ?Sized> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("name", &self.name).field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Own<T> {
    fn new(name: impl Into<String>, numbers: impl Into<Vec<f64>>, given: Arc<T>) -> Own<T> {
        Own { name: name.into(), numbers: numbers.into(), given: Some(given) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// What the name means, where it is `field` of a spec.
    fn meant(&self, field: &str) -> Result<&T> {
        self.given.as_deref().ok_or_else(|| {
            Error::spec(
                format!("{field}.name"),
                format!("{:?}", self.name),
                "a name whose meaning is given: Spec::given",
            )
        })
    }

    /// Takes what the name means from what the caller gives.
    fn give(&mut self, field: &str, all: &BTreeMap<String, Arc<T>>) -> Result<()> {
        let Some(given) = all.get(&self.name) else {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            let allowed = if names.is_empty() { "none is given".into() } else { names.join(", ") };
            return Err(Error::spec(format!("{field}.name"), format!("{:?}", self.name), allowed));
        };
        self.given = Some(given.clone());
        Ok(())
    }

    /// Checks what can be checked of it without its meaning.
    fn check_plain(&self, field: &str) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::spec(format!("{field}.name"), "\"\"", "a name"));
        }
        match self.numbers.iter().position(|number| !number.is_finite()) {
            None => Ok(()),
            Some(at) => Err(Error::spec(format!("{field}.numbers[{at}]"), self.numbers[at], "a finite number")),
        }
    }
}

impl OwnLoss {
    pub(super) fn check(&self) -> Result<()> {
        self.check_plain(LOSS)?;
        self.given.as_ref().map_or(Ok(()), |given| given.check(&self.numbers)).map_err(|e| e.inside(LOSS))
    }

    pub(super) fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId) -> Result<NodeId> {
        let rows = self.meant(LOSS)?.rows(g, decoded, target, &self.numbers)?;
        of_shape(g, rows, &Shape::batched(&[1]), || format!("loss.own ({:?})", self.name))
    }

    pub(super) fn mean(&self, g: &mut Graph, decoded: Decoded) -> Result<NodeId> {
        let mean = self.meant(LOSS)?.mean(g, decoded, &self.numbers)?;
        let wanted = g.shape(decoded.output).clone();
        of_shape(g, mean, &wanted, || format!("loss.own ({:?}, its mean)", self.name))
    }
}

impl OwnPenalty {
    pub(super) fn check(&self, field: &str) -> Result<()> {
        self.check_plain(field)?;
        if TERMS.contains(&self.name.as_str()) {
            let allowed = format!("another name than those of other terms: {}", TERMS.join(", "));
            return Err(Error::spec(format!("{field}.name"), format!("{:?}", self.name), allowed));
        }
        self.given.as_ref().map_or(Ok(()), |given| given.check(&self.numbers)).map_err(|e| e.inside(field))
    }

    pub(super) fn rows(&self, g: &mut Graph, h: NodeId) -> Result<NodeId> {
        let rows = self.meant("penalties.of")?.rows(g, h, &self.numbers)?;
        of_shape(g, rows, &Shape::batched(&[1]), || format!("penalties.own ({:?})", self.name))
    }
}

fn of_shape(g: &Graph, node: NodeId, wanted: &Shape, place: impl Fn() -> String) -> Result<NodeId> {
    match g.shape(node) {
        shape if shape == wanted => Ok(node),
        shape => Err(Error::shape(place(), wanted, shape)),
    }
}

impl Loss {
    /// A loss of the caller's own, under a name that files keep, with its numbers.
    pub fn own(name: impl Into<String>, numbers: impl Into<Vec<f64>>, loss: impl RowLoss + 'static) -> Loss {
        Loss::Own(Own::new(name, numbers, Arc::new(loss)))
    }
}

impl Penalty {
    /// A penalty of the caller's own on the code, under a name that files keep, with its weight and its numbers.
    pub fn own(
        name: impl Into<String>,
        weight: f64,
        numbers: impl Into<Vec<f64>>,
        penalty: impl RowPenalty + 'static,
    ) -> Penalty {
        Penalty::Own { weight, of: Own::new(name, numbers, Arc::new(penalty)), layer: None }
    }
}

/// What names in specs mean: losses and penalties of the caller's own.
#[derive(Clone, Default)]
pub struct Meanings {
    losses: BTreeMap<String, Arc<dyn RowLoss>>,
    penalties: BTreeMap<String, Arc<dyn RowPenalty>>,
}

impl fmt::Debug for Meanings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (losses, penalties) = (self.losses.keys(), self.penalties.keys());
        f.debug_struct("Meanings").field("losses", &losses).field("penalties", &penalties).finish()
    }
}

impl Meanings {
    /// None.
    pub fn new() -> Meanings {
        Meanings::default()
    }

    /// The same with a loss under this name.
    pub fn loss(mut self, name: impl Into<String>, loss: impl RowLoss + 'static) -> Meanings {
        self.losses.insert(name.into(), Arc::new(loss));
        self
    }

    /// The same with a penalty under this name.
    pub fn penalty(mut self, name: impl Into<String>, penalty: impl RowPenalty + 'static) -> Meanings {
        self.penalties.insert(name.into(), Arc::new(penalty));
        self
    }
}

impl Spec {
    /// The same with what its names of losses and penalties mean: for a spec that was read from a file. One that was made with
    /// [`Loss::own`] and [`Penalty::own`] has that already.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the place, a name that was not given, and those that were; as [`Spec::check`].
    pub fn given(mut self, meanings: &Meanings) -> Result<Spec> {
        if let Loss::Own(own) = &mut self.loss {
            own.give(LOSS, &meanings.losses)?;
        }
        for (i, penalty) in self.penalties.iter_mut().enumerate() {
            if let Penalty::Own { of, .. } = penalty {
                of.give(&format!("penalties[{i}].of"), &meanings.penalties)?;
            }
        }
        self.check()?;
        Ok(self)
    }

    /// Fails where a name means nothing.
    pub(super) fn check_given(&self) -> Result<()> {
        if let Loss::Own(own) = &self.loss {
            own.meant(LOSS)?;
        }
        for (i, penalty) in self.penalties.iter().enumerate() {
            if let Penalty::Own { of, .. } = penalty {
                of.meant(&format!("penalties[{i}].of"))?;
            }
        }
        Ok(())
    }
}
