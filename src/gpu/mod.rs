//! The GPU: the only module that names wgpu. It creates or adopts a device, holds buffers, realises recordings and
//! replays them.

mod buffer;
mod context;
pub(crate) mod pace;
pub(crate) mod program;
pub(crate) mod readback;
pub(crate) mod timing;
mod waiter;

pub use buffer::Buffer;
pub(crate) use context::lock;
pub use context::{AdapterSummary, Gpu, GpuOptions};
pub(crate) use pace::{FEWEST, Paced, Parts, SHARED, Together, rows_of_piece, seconds};
pub(crate) use program::{Program, Work, record};
pub(crate) use readback::{Readback, Wait};
pub(crate) use timing::Clock;
pub use timing::Timed;
pub(crate) use waiter::{apart, pause};
pub(crate) use wgpu::CommandEncoder;
