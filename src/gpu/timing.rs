//! Timing on the device: how long every dispatch of some programs takes, and how fast the adapter is at best.

use super::buffer::Buffer;
use super::context::Gpu;
use super::program::Program;
use super::readback::Readback;
use crate::error::{Error, Result};
use crate::plan::Cost;

/// Dispatches that are timed in one submit: each writes two timestamps, and a set holds 4,096.
const TIMED: usize = 1024;

/// How long one dispatch took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Its name.
    pub label: String,
    /// Seconds.
    pub seconds: f64,
    /// What it costs at the largest batch.
    #[doc(hidden)]
    pub cost: Cost,
}

/// Times passes on the device, each by two timestamps. The submits that it times run in their order, so one clock does for
/// all of them.
#[derive(Debug)]
pub struct Clock {
    set: wgpu::QuerySet,
    /// Where the timestamps are read from: 8 bytes each.
    pub ticks: Buffer,
    /// Passes that it times.
    passes: u32,
    /// Seconds of a tick.
    period: f64,
}

impl Clock {
    /// For so many passes.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device writes no timestamps; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, passes: u32) -> Result<Clock> {
        gpu.check_timestamps()?;
        let (count, ty) = (passes * 2, wgpu::QueryType::Timestamp);
        let descriptor = wgpu::QuerySetDescriptor { label: Some("clock"), ty, count };
        let set = gpu.scoped("clock", |device| device.create_query_set(&descriptor))?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let ticks = gpu.buffer_for("clock", u64::from(count) * 8, usage)?;
        Ok(Clock { set, ticks, passes, period: f64::from(gpu.queue().get_timestamp_period()) * 1e-9 })
    }

    /// Seconds between a pass's two timestamps that were read; none where the device gave none.
    pub fn seconds(&self, [begin, end]: [u64; 2]) -> Option<f64> {
        (end > begin).then(|| (end - begin) as f64 * self.period)
    }

    /// What a pass is told, to be timed.
    pub(super) fn writes(&self, pass: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(pass * 2),
            end_of_pass_write_index: Some(pass * 2 + 1),
        }
    }

    /// Records the reading of what was timed.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..self.passes * 2, &self.ticks.raw, 0);
    }
}

impl Gpu {
    /// Whether the device writes timestamps, so that [`Gpu::timed`] works.
    pub fn has_timestamps(&self) -> bool {
        self.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Fails where the device writes no timestamps.
    fn check_timestamps(&self) -> Result<()> {
        let (what, limit) = ("timing dispatches".into(), "TIMESTAMP_QUERY of the device");
        if self.has_timestamps() { Ok(()) } else { Err(Error::Limit { what, needs: 1, allowed: 0, limit }) }
    }

    /// Runs programs once, in order, and tells how long every dispatch took. Each runs in a pass of its own, so what
    /// lies between two of them is not counted.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device writes no timestamps (one that was adopted may lack the feature
    /// `TIMESTAMP_QUERY`); [`Error::Device`] and [`Error::DeviceLost`].
    #[doc(hidden)]
    pub fn timed(&self, programs: &[&Program]) -> Result<Vec<Timed>> {
        self.check_timestamps()?;
        let commands: Vec<_> = programs.iter().flat_map(|program| program.commands()).collect();
        let mut times = Vec::with_capacity(commands.len());
        for part in commands.chunks(TIMED) {
            let clock = Clock::new(self, part.len() as u32)?;
            self.scoped("timed", |device| {
                let mut encoder = device.create_command_encoder(&Default::default());
                for (command, pass) in part.iter().zip(0..) {
                    let (label, timestamp_writes) = (Some(command.label()), Some(clock.writes(pass)));
                    let descriptor = wgpu::ComputePassDescriptor { label, timestamp_writes };
                    command.record(&mut encoder.begin_compute_pass(&descriptor));
                }
                clock.resolve(&mut encoder);
                self.queue().submit([encoder.finish()]);
            })?;
            // Whole timestamps, without what rounds the buffer up.
            let bytes = part.len() as u64 * 16;
            let mut readback = Readback::new(self, bytes)?;
            readback.start(&[(&clock.ticks, 0..bytes)])?;
            let ticks: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(&readback.wait()?);
            times.extend(part.iter().zip(ticks).map(|(command, ticks)| Timed {
                label: command.label().into(),
                seconds: clock.seconds(ticks).unwrap_or(0.0),
                cost: command.cost(),
            }));
        }
        Ok(times)
    }
}
