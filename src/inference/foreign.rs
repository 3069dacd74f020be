//! Parameters that another program wrote: which tensor of a file becomes which of a model. Names alone tell that, the
//! model's own or those that the caller pairs with them. Nothing is guessed by shapes or by the order in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::file::{Weights, take};
use super::tensors::{FLOATS, TensorFile, failure};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::model::Network;

/// Tensors of a file that an error lists, and characters of each name.
const LISTED: usize = 6;
const NAME: usize = 80;

/// A tensor that a file may have for a model.
struct Part {
    /// As the model has it, or would have it if its weights were not tied.
    tensor: Tensor,
    /// The trainable tensor whose transpose it is, where weights are tied.
    tied: Option<usize>,
    /// What it is called in the file.
    from: String,
    /// Whether the file must have it.
    needed: bool,
}

impl Part {
    /// Both its names, or the one where they are the same.
    fn names(&self) -> String {
        match self.from == self.tensor.name {
            true => self.from.clone(),
            false => format!("{}, for {}", self.from, self.tensor.name),
        }
    }

    /// An error about a place in the file that bears its name, with both names.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Checkpoint { path, place, found, allowed } if place == self.from => {
                Error::Checkpoint { path, place: self.names(), found, allowed }
            }
            other => other,
        }
    }
}

/// Reads the trainable tensors of a network out of a file that calls them as the network does. Other tensors in it are
/// left alone.
///
/// # Errors
/// [`Error::Checkpoint`] where one is missing or is not what it should be, and where weights are tied and the file has
/// two matrices that are not each other's transpose; [`Error::Io`].
pub(crate) fn parameters(path: &Path, network: &Network, weights: Weights) -> Result<Vec<Vec<f32>>> {
    read(&mut TensorFile::open(path)?, parts(network), weights)
}

/// Reads them out of a file that calls them otherwise: each pair has the name of a layer or a tensor of the network,
/// and the file's. Every tensor of the network must be named, and every tensor of the file.
///
/// # Errors
/// As [`parameters`]; [`Error::Data`] where the pairs do not name everything once.
pub(crate) fn named_parameters(
    path: &Path,
    network: &Network,
    weights: Weights,
    names: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<Vec<f32>>> {
    let names: Vec<(&str, &str)> = names.iter().map(|(ours, theirs)| (ours.as_ref(), theirs.as_ref())).collect();
    let parts = renamed(parts(network), &names)?;
    let mut file = TensorFile::open(path)?;
    if let Some(part) = parts.iter().find(|part| part.needed && file.info(&part.from).is_none()) {
        return Err(missing(&file, &parts, part));
    }
    if let Some(name) = others(&file, &parts).first() {
        let found = format!("a tensor that no pair names; all of these: {}", listed(&file, &parts));
        return Err(failure(path)(&cut(name), &found, "the tensors of the pairs alone"));
    }
    read(&mut file, parts, weights)
}

/// What a file may have for a network, by the network's own names: the trainable tensors in their order, then what tied
/// weights make of them.
fn parts(network: &Network) -> Vec<Part> {
    let part = |tensor: Tensor, tied: Option<usize>| {
        let from = tensor.name.clone();
        Part { tensor, tied, from, needed: tied.is_none() }
    };
    let own = network.params().iter().map(|tensor| part(tensor.clone(), None));
    own.chain(network.tied().map(|(tensor, of)| part(tensor, Some(of)))).collect()
}

/// The same under the file's names.
fn renamed(parts: Vec<Part>, names: &[(&str, &str)]) -> Result<Vec<Part>> {
    let refuse = |found: String, allowed: &str| Err(Error::data("names", found, allowed));
    for (ours, _) in names {
        if !parts.iter().any(|part| name_in_file(&part.tensor.name, (*ours, "")).is_some()) {
            return refuse(format!("{ours:?}"), &layers(&parts));
        }
    }
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for part in parts {
        let name = &part.tensor.name;
        let found: Vec<_> =
            names.iter().filter_map(|pair| name_in_file(name, *pair).map(|from| (pair.0, from))).collect();
        let (ours, from) = match found.as_slice() {
            [one] => one.clone(),
            // Where it is not a tensor of the model, nobody need name it.
            [] if !part.needed => continue,
            [] => return refuse(format!("no pair for {name}"), "a pair for every layer, or for each of its tensors"),
            [(first, _), (second, _), ..] => {
                return refuse(format!("{first:?} and {second:?} for {name}"), "one pair for each tensor");
            }
        };
        if let Some(other) = taken.insert(from.clone(), name.clone()) {
            return refuse(format!("{from:?} for {other} and for {name}"), "a tensor of the file for each tensor");
        }
        let needed = part.needed || ours == name;
        all.push(Part { from, needed, ..part });
    }
    Ok(all)
}

/// What a tensor is called in a file by a pair, where it is the pair's tensor or one of the pair's layer.
fn name_in_file(name: &str, (ours, theirs): (&str, &str)) -> Option<String> {
    match name.strip_prefix(ours)? {
        "" => Some(theirs.to_string()),
        rest @ (".weight" | ".bias") => Some(format!("{theirs}{rest}")),
        _ => None,
    }
}

/// The layers of a model, and its tensors that belong to none.
fn layers(parts: &[Part]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for Part { tensor: Tensor { name, .. }, .. } in parts {
        let layer = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
        if !names.contains(&layer) {
            names.push(layer);
        }
    }
    format!("{}, or the name of one of their tensors", names.join(", "))
}

/// Reads parts, the trainable tensors first, and compares the others with those they are tied to.
fn read(file: &mut TensorFile, parts: Vec<Part>, weights: Weights) -> Result<Vec<Vec<f32>>> {
    let mut all: Vec<Vec<f32>> = Vec::with_capacity(parts.len());
    for part in &parts {
        match file.info(&part.from) {
            None if part.needed => return Err(missing(file, &parts, part)),
            None => continue,
            Some(_) => {}
        }
        let values = take(file, &part.from, &part.tensor, weights, &FLOATS).map_err(|error| part.named(error))?;
        match part.tied {
            None => all.push(values),
            Some(of) => check_tied(file.path(), weights, part, &values, &parts[of], &all[of])?,
        }
    }
    Ok(all)
}

/// Fails where a matrix is not the transpose of the one that it is tied to. Both are `[in, out]` by now.
fn check_tied(path: &Path, weights: Weights, part: &Part, found: &[f32], of: &Part, tied: &[f32]) -> Result<()> {
    let (rows, columns) = (part.tensor.shape.blocks(), part.tensor.shape.columns());
    let transposed = |i: usize| tied[i % columns * rows + i / columns];
    let Some(i) = (0..found.len()).find(|&i| found[i].to_bits() != transposed(i).to_bits()) else { return Ok(()) };
    let mut places = [[i / columns, i % columns], [i % columns, i / columns]];
    if weights == Weights::OutIn {
        places.reverse();
    }
    let [place, other] = places;
    let allowed = format!(
        "{:?}, as {} has it at {other:?}: the weights are tied, so one is the transpose of the other, to the bit",
        transposed(i),
        of.from
    );
    Err(failure(path)(&part.names(), &format!("{:?} at {place:?}", found[i]), &allowed))
}

/// The error about a part that is not there.
fn missing(file: &TensorFile, parts: &[Part], part: &Part) -> Error {
    let mut allowed = "a tensor of this name".to_string();
    let rest = listed(file, parts);
    if !rest.is_empty() {
        allowed += &format!("; of those that are there nobody asked for {rest}");
        if part.from == part.tensor.name {
            allowed += "; load_parameters_named says which is which";
        }
    }
    failure(file.path())(&part.names(), "nothing", &allowed)
}

/// The tensors of a file that are none of these.
fn others(file: &TensorFile, parts: &[Part]) -> Vec<String> {
    let asked: BTreeSet<&str> = parts.iter().map(|part| part.from.as_str()).collect();
    file.names().into_iter().filter(|name| !asked.contains(name.as_str())).collect()
}

/// The same with their shapes, as far as a line holds them.
fn listed(file: &TensorFile, parts: &[Part]) -> String {
    let others = others(file, parts);
    let shape = |name: &String| file.info(name).map_or(String::new(), |(_, dims)| format!(" {dims:?}"));
    let shown: Vec<String> = others.iter().take(LISTED).map(|name| format!("{}{}", cut(name), shape(name))).collect();
    let more = others.len() - shown.len();
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// As much of a name as a line holds.
fn cut(name: &str) -> String {
    name.chars().take(NAME).collect()
}
