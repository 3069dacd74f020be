//! Using a model: its tensors on the GPU, codes, reconstructions and scores of rows, from the host or in the host
//! application's own buffers, and files of it.

mod attached;
mod compiled;
mod contents;
mod exact;
mod file;
mod foreign;
mod memory;
mod model;
mod replace;
mod resident;
mod stack;
mod tensors;
mod verbs;

pub use attached::Attached;
pub use file::Weights;
pub use memory::Memory;
pub use model::Model;
pub use verbs::Component;

pub(crate) use compiled::{ROWS, halving};
pub(crate) use contents::{Contents, StateFile};
pub(crate) use file::{ModelFile, Run, SCALES, STATE, copy, usable_scales, write};
pub(crate) use foreign::{named_parameters, parameters};
pub(crate) use model::whole_rows;
pub(crate) use replace::replace;
pub(crate) use resident::{Resident, finite, fits_binding};
pub(crate) use tensors::failure;
