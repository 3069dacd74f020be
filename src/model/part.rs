//! A spec's network among the tensors of a larger graph: so that one graph holds several, or takes a network in parts.

use super::build::Places;
use super::{Ascent, Network, Purpose, Spec, objective, recirculation};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Tensor};

/// A spec's network whose tensors are some of a graph's.
#[derive(Clone, Debug)]
pub struct Part {
    network: Network,
    /// The numbers of its trainable and of its frozen tensors among the graph's.
    params: Vec<usize>,
    constants: Vec<usize>,
    /// What the names of its scalars begin with.
    prefix: String,
}

impl Part {
    /// Finds the tensors of a spec in a graph, where `name` tells what the graph calls each of them; its scalars are called as
    /// in the spec, after `prefix`.
    ///
    /// # Errors
    /// As [`Network::new`]; [`Error::Spec`] naming the tensor that the graph lacks or has in another shape.
    pub(crate) fn new(spec: &Spec, graph: &Graph, prefix: &str, name: impl Fn(&str) -> String) -> Result<Part> {
        let network = Network::new(spec)?;
        let find = |own: &[Tensor], all: &[Tensor]| {
            let place = |tensor: &Tensor| {
                let name = name(&tensor.name);
                match all.iter().position(|other| other.name == name) {
                    Some(at) if all[at].shape == tensor.shape => Ok(at),
                    Some(at) => Err(Error::spec(name, all[at].shape.to_string(), tensor.shape.to_string())),
                    None => Err(Error::spec(name, "no such tensor", "one of the graph's tensors")),
                }
            };
            own.iter().map(place).collect::<Result<Vec<usize>>>()
        };
        let (params, constants) =
            (find(network.params(), &graph.params)?, find(network.constants(), &graph.constants)?);
        Ok(Part { network, params, constants, prefix: prefix.into() })
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        self.network.spec()
    }

    /// The network.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The numbers of its trainable tensors among the graph's.
    pub(crate) fn params(&self) -> &[usize] {
        &self.params
    }

    fn places(&self) -> Places<'_> {
        Places { tensors: Some((&self.params, &self.constants)), prefix: &self.prefix }
    }

    /// Adds what is computed of rows for a purpose, by the tensors of the graph: `[batch, ..]`, as wide as the purpose says.
    ///
    /// # Errors
    /// [`Error::Spec`] for a purpose that the spec's kind of model does not have; [`Error::Shape`] where the rows are of another
    /// width.
    pub fn infer(&self, g: &mut Graph, purpose: Purpose, rows: NodeId) -> Result<NodeId> {
        self.network.infer(g, self.places(), purpose, rows)
    }

    /// Adds its objective: the terms for the current batch of the data and the gradients by all trainable tensors of the part.
    pub(crate) fn train(&self, g: &mut Graph, shuffled: bool) -> Result<()> {
        self.network.train(g, self.places(), shuffled)
    }

    /// A graph of its objective: `g` with what [`Part::train`] adds.
    pub(crate) fn training_graph(&self, mut g: Graph, shuffled: bool) -> Result<Graph> {
        self.train(&mut g, shuffled)?;
        self.finished(g)
    }

    /// A graph of its classifier's objective: `g` with −log p(label | code), mean over the batch, for codes and labels, and the
    /// gradients by those of the graph's trainable tensors that are `trained`.
    pub(crate) fn classifier_graph(
        &self,
        mut g: Graph,
        of: [NodeId; 2],
        trained: impl Fn(usize) -> bool,
    ) -> Result<Graph> {
        let trained: Vec<usize> = (0..self.params.len()).filter(|&i| trained(self.params[i])).collect();
        self.network.classify(&mut g, self.places(), of, &trained)?;
        self.finished(g)
    }

    /// A graph of recirculation: `g` with the loss of the current batch of the data as a term, and the rule's direction as gradients
    /// of all trainable tensors of the part.
    ///
    /// # Errors
    /// [`Error::Spec`] naming what of the spec the rule has no place for, or a share `lambda` of the input that is not in [0, 1).
    pub(crate) fn recirculation_graph(&self, mut g: Graph, lambda: f64, shuffled: bool) -> Result<Graph> {
        recirculation::check(self.spec(), lambda)?;
        self.network.recirculate(&mut g, self.places(), lambda, shuffled)?;
        self.finished(g)
    }

    /// As [`Part::training_graph`], of the mean of two objectives: that of the batch, and that of rows which `found` makes of it;
    /// their features are scaled. Gradients take these rows for constants.
    pub(crate) fn training_graph_beside(
        &self,
        mut g: Graph,
        shuffled: bool,
        found: impl FnOnce(&mut Graph, NodeId) -> Result<NodeId>,
    ) -> Result<Graph> {
        self.network.train_beside(&mut g, self.places(), shuffled, found)?;
        self.finished(g)
    }

    /// The features of the current batch of the data, scaled.
    pub(crate) fn rows(&self, g: &mut Graph, shuffled: bool) -> Result<NodeId> {
        Ok(self.network.builder(g, self.places(), false)?.scaled_batch(shuffled)?.0)
    }

    /// Codes of scaled rows as the decoder meets them in training: of corrupted rows, with the noise of the encoder's layers,
    /// drawn where they are drawn. Where training minimises them inside, those that the encoder predicts.
    pub(crate) fn codes(&self, g: &mut Graph, rows: NodeId) -> Result<NodeId> {
        self.network.training_builder(g, self.places())?.codes(rows)
    }

    /// Ways from scaled rows without what is missing.
    pub(crate) fn without_missing(&self, g: &mut Graph, ways: NodeId) -> Result<NodeId> {
        self.network.builder(g, self.places(), false)?.without_missing(ways)
    }

    /// Scaled rows, none of which lies beyond what the loss is made for: the nearest where one does.
    pub(crate) fn inside(&self, g: &mut Graph, rows: NodeId) -> Result<NodeId> {
        Ok(self.network.builder(g, self.places(), false)?.nearest(rows)?.0)
    }

    /// The loss of each of scaled rows that lie where it is made for, without noise, [batch, 1].
    pub(crate) fn errors(&self, g: &mut Graph, rows: NodeId) -> Result<NodeId> {
        self.network.builder(g, self.places(), false)?.errors(rows)
    }

    /// What an ascent makes of scaled rows.
    pub(crate) fn ascend(&self, g: &mut Graph, rows: NodeId, ascent: &Ascent) -> Result<NodeId> {
        Ok(self.network.builder(g, self.places(), false)?.ascend(rows, ascent)?.0)
    }

    /// Adds the gradients of an objective, a mean over the batch, by the trainable tensors of these numbers.
    pub(crate) fn gradients(&self, g: &mut Graph, total: NodeId, of: impl Iterator<Item = usize>) -> Result<()> {
        let params = of.map(|i| Ok((i, g.param(i)?))).collect::<Result<Vec<_>>>()?;
        // Of what players descend nothing is known: single rows count about 1.
        objective::gradients(g, self.spec().precision, &[(total, 1.0)], 1, &params)
    }

    /// A graph in the precision of the spec.
    pub(crate) fn finished(&self, g: Graph) -> Result<Graph> {
        self.network.finished(g)
    }
}
