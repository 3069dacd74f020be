//! Searching: which numbers and choices of a spec and of its training do best on rows that were held out.
//!
//! ```no_run
//! use strait::search::{Search, Values};
//! use strait::{Activation, Gpu, Loss, Spec, Training, data};
//!
//! let spec = Spec::symmetric(&[64, 128, 16], Activation::Elu).loss(Loss::Bernoulli);
//! let search = Search::new(spec, Training::default())
//!     .axis("learning_rate", Values::log_uniform(1e-4, 1e-2), |c, rate| c.training.learning_rate = rate)
//!     .axis("weight_decay", [0.0, 1e-5, 1e-4], |c, weight| c.spec.weight_decay = weight)
//!     .choice("activation", [("elu", Activation::Elu), ("tanh", Activation::Tanh)], |c, activation| {
//!         c.spec.encoder[0].activation = *activation;
//!         c.spec.decoder[0].activation = *activation;
//!     })
//!     .random(32)
//!     .folds(5);
//! let table = search.run(&Gpu::new()?, data::digits()?)?;
//! println!("{table}");
//! if let Some(best) = table.best() {
//!     println!("{}", best.candidate.spec.to_toml()?);
//! }
//! # Ok::<(), strait::Error>(())
//! ```

mod alike;
mod axis;
mod file;
mod folds;
mod run;
mod scheme;
mod table;
mod watched;

pub use axis::{Candidate, Values};
pub use folds::Fold;
pub use run::Report;
pub use scheme::Search;
pub use table::{Entry, Table};
