//! The GPU: the only module that names wgpu. It creates or adopts a device, holds buffers, realises recordings and
//! replays them.

mod buffer;
mod context;
mod program;
mod readback;
mod timing;
mod waiter;

pub use buffer::Buffer;
pub(crate) use context::lock;
pub use context::{AdapterSummary, Gpu, GpuOptions};
pub(crate) use program::record;
pub use program::{Program, Work};
pub use readback::{Readback, Wait};
pub use timing::{Clock, Timed};
pub(crate) use waiter::{apart, pause};
/// The wgpu that strait is built on, so that a host shares the same version.
pub use wgpu;
pub(crate) use wgpu::CommandEncoder;
