//! The one error type. Every variant names the place, the value that was found there and what is allowed.

use std::path::PathBuf;

/// What can go wrong in strait. Nothing reachable from outside panics: it ends up here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A data set, or a file that holds one, is not what it should be.
    #[error("{place}: found {found}; allowed: {allowed}")]
    Data {
        /// The file and the place in it (header field, row and column), or the name of the data set.
        place: String,
        /// The value found there.
        found: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// A field of a spec or of the training options has a value that cannot work.
    #[error("{field} is {value}; allowed: {allowed}")]
    Spec {
        /// The field, spelled as in the spec file, for example `encoder[1].units`.
        field: String,
        /// The value it had.
        value: String,
        /// What is allowed there.
        allowed: String,
    },
    /// Two shapes do not fit each other in a node of the graph.
    #[error("{op}: {left} does not fit {right}")]
    Shape {
        /// The operation or the node.
        op: String,
        /// One shape.
        left: String,
        /// The other shape, or the rule.
        right: String,
    },
    /// A graph was asked about a node that it does not have: the number of a node belongs to the graph that gave it.
    #[error("{op}: the graph has no node {node}")]
    Node {
        /// The operation.
        op: String,
        /// The number of the node.
        node: usize,
    },
    /// A plan cannot fit this adapter, or a buffer is too small. Nothing was allocated.
    #[error("{what} needs {needs}, allowed are {allowed} ({limit})")]
    Limit {
        /// The tensor, buffer or kernel.
        what: String,
        /// What it needs.
        needs: u64,
        /// What is allowed.
        allowed: u64,
        /// The name of the limit, or where it comes from.
        limit: &'static str,
    },
    /// No adapter could be used.
    #[error("no GPU adapter: tried {tried}; {advice}")]
    NoAdapter {
        /// The backends and adapters that were tried, with the reason each failed.
        tried: String,
        /// What to install or to change.
        advice: String,
    },
    /// The device refused an operation or failed in it.
    #[error("{op}: the device reports: {message}")]
    Device {
        /// What was being done.
        op: String,
        /// The device's message.
        message: String,
    },
    /// The device is gone (driver reset, unplugged, or the host application said so).
    #[error("the device was lost: {reason}")]
    DeviceLost {
        /// The reason the device gave.
        reason: String,
    },
    /// A kernel's WGSL is not valid.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// The kernel.
        kernel: String,
        /// The compiler's message.
        message: String,
    },
    /// Training produced a value that is not finite. The parameters and everything the optimizer keeps are those
    /// before that step. Only where the term is `update` (terms and gradient were finite, but a step so large leads out
    /// of f32) have the values that stay finite taken it.
    #[error(
        "step {step}: {term} is not finite; training stopped there. Try a lower learning_rate, clip_norm, or scaling \
         of the data; where precision is f16 also smaller weights and values, since it ends at 65504"
    )]
    Diverged {
        /// The step, counted from 0, in which it happened.
        step: u64,
        /// The term of the objective that went bad; `gradient` where that or its square is not finite; `update` where
        /// only what it leads to is not.
        term: String,
    },
    /// A checkpoint, a parameter file or a tuning is not what it should be. Nothing was loaded.
    #[error("{path}: {place}: found {found}; allowed: {allowed}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The tensor or metadata key.
        place: String,
        /// What was found.
        found: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// An invariant of strait itself is broken. Please report it.
    #[error("internal: {0}")]
    Internal(String),
}

/// strait's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A [`Error::Data`]: what was found at a place, and what would have been accepted.
    pub fn data(place: impl Into<String>, found: impl ToString, allowed: impl Into<String>) -> Error {
        Error::Data { place: place.into(), found: short(found.to_string()), allowed: allowed.into() }
    }

    /// A [`Error::Spec`]: a field, its value, and what would have been accepted.
    pub fn spec(field: impl Into<String>, value: impl ToString, allowed: impl Into<String>) -> Error {
        Error::Spec { field: field.into(), value: short(value.to_string()), allowed: allowed.into() }
    }

    /// The same about a part of something: a field of a spec has where that stands in front.
    pub(crate) fn inside(self, place: &str) -> Error {
        match self {
            Error::Spec { field, value, allowed } => Error::Spec { field: format!("{place}.{field}"), value, allowed },
            other => other,
        }
    }

    /// A [`Error::Shape`]: two shapes that do not fit in an operation.
    pub fn shape(op: impl Into<String>, left: impl ToString, right: impl ToString) -> Error {
        Error::Shape { op: op.into(), left: left.to_string(), right: right.to_string() }
    }

    /// An [`Error::Io`] at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// A number with many zeros, as 1e-38 is when it is written out, with an exponent instead; any other text as it is.
fn short(text: String) -> String {
    /// No whole number of 64 bits is as long, and no other number that somebody can read at a glance.
    const LONG: usize = 24;
    match text.parse::<f64>() {
        Ok(number) if text.len() >= LONG => format!("{number:e}"),
        _ => text,
    }
}

/// Where the first of some values lies that is not finite.
pub(crate) fn not_finite(values: &[f32]) -> Option<usize> {
    // Without a branch for each value, so that it takes little longer than reading them where all are.
    let bad = |values: &[f32]| values.iter().fold(false, |bad, v| bad | !v.is_finite());
    let (start, values) = values.chunks(1024).enumerate().find(|(_, values)| bad(values))?;
    Some(start * 1024 + values.iter().position(|v| !v.is_finite())?)
}

/// Fails where a value of some rows is not finite; `first` is the number of the first of these rows.
pub(crate) fn finite_rows(what: &str, columns: usize, first: usize, values: &[f32]) -> Result<()> {
    let Some(at) = not_finite(values) else { return Ok(()) };
    let place = format!("{what}: row {}, column {}", first + at / columns, at % columns);
    Err(Error::data(place, values[at], "a finite number"))
}

/// Fails where a number of a spec, as the f32 that it becomes, is not finite and above 0.
pub(crate) fn positive(field: &str, value: f64) -> Result<()> {
    match value as f32 {
        // Adapters may flush what is smaller to 0.
        v if v.is_normal() && v > 0.0 => Ok(()),
        _ => Err(Error::spec(field, value, "a number above 0 in the normal range of f32")),
    }
}

/// Fails where a number of a spec, as the f32 that it becomes, is not finite and at least 0.
pub(crate) fn not_negative(field: &str, value: f64) -> Result<()> {
    match value as f32 {
        v if v.is_finite() && value >= 0.0 => Ok(()),
        _ => Err(Error::spec(field, value, "a finite number, 0 or more, in f32")),
    }
}
