//! The one error type. Every variant names the place, the value that was found there and what is allowed.

use std::path::PathBuf;

/// What can go wrong in strait. Nothing reachable from outside panics: it ends up here.
///
/// Its text says all: the place, the value and what is allowed. Variants are told apart by `matches!(error, Error::Spec { .. })`;
/// fields that are not listed here make up the text and may change with it.
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
    #[non_exhaustive]
    Data {
        /// The file and the place in it (header field, row and column), or the name of the data set.
        #[doc(hidden)]
        place: String,
        /// The value found there.
        #[doc(hidden)]
        found: String,
        /// What would have been accepted.
        #[doc(hidden)]
        allowed: String,
    },
    /// A field of a spec or of the training options has a value that cannot work.
    #[error("{field} is {value}; allowed: {allowed}")]
    #[non_exhaustive]
    Spec {
        /// The field, spelled as in the spec file, for example `encoder[1].units`.
        #[doc(hidden)]
        field: String,
        /// The value it had.
        #[doc(hidden)]
        value: String,
        /// What is allowed there.
        #[doc(hidden)]
        allowed: String,
    },
    /// Two shapes do not fit each other in a node of the graph.
    #[error("{op}: {left} does not fit {right}")]
    #[non_exhaustive]
    Shape {
        /// The operation or the node.
        #[doc(hidden)]
        op: String,
        /// One shape.
        #[doc(hidden)]
        left: String,
        /// The other shape, or the rule.
        #[doc(hidden)]
        right: String,
    },
    /// A graph was asked about a node that it does not have: the number of a node belongs to the graph that gave it.
    #[error("{op}: the graph has no node {node}")]
    #[non_exhaustive]
    Node {
        /// The operation.
        #[doc(hidden)]
        op: String,
        /// The number of the node.
        #[doc(hidden)]
        node: usize,
    },
    /// A plan cannot fit this adapter, or a buffer is too small. Nothing was allocated.
    #[error("{what} needs {needs}, allowed are {allowed} ({limit})")]
    #[non_exhaustive]
    Limit {
        /// The tensor, buffer or kernel.
        #[doc(hidden)]
        what: String,
        /// What it needs.
        #[doc(hidden)]
        needs: u64,
        /// What is allowed.
        #[doc(hidden)]
        allowed: u64,
        /// The name of the limit, or where it comes from.
        #[doc(hidden)]
        limit: &'static str,
    },
    /// No adapter could be used.
    #[error("no GPU adapter: tried {tried}; {advice}")]
    #[non_exhaustive]
    NoAdapter {
        /// The backends and adapters that were tried, with the reason each failed.
        #[doc(hidden)]
        tried: String,
        /// What to install or to change.
        #[doc(hidden)]
        advice: String,
    },
    /// The device refused an operation or failed in it.
    #[error("{op}: the device reports: {message}")]
    #[non_exhaustive]
    Device {
        /// What was being done.
        #[doc(hidden)]
        op: String,
        /// The device's message.
        #[doc(hidden)]
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
    #[non_exhaustive]
    Kernel {
        /// The kernel.
        #[doc(hidden)]
        kernel: String,
        /// The compiler's message.
        #[doc(hidden)]
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
    #[non_exhaustive]
    Checkpoint {
        /// The file.
        #[doc(hidden)]
        path: PathBuf,
        /// The tensor or metadata key.
        #[doc(hidden)]
        place: String,
        /// What was found.
        #[doc(hidden)]
        found: String,
        /// What would have been accepted.
        #[doc(hidden)]
        allowed: String,
    },
    /// An invariant of strait itself is broken. Please report it.
    #[error("internal: {0}")]
    Internal(#[doc(hidden)] String),
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
