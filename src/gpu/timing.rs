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
    pub cost: Cost,
}

/// Times the work of a submit on the device. The submits that it times are read in their order, so one does for all of
/// them.
#[derive(Debug)]
pub struct Clock {
    set: wgpu::QuerySet,
    /// Where the two timestamps are read from.
    pub ticks: Buffer,
    /// Seconds of a tick.
    period: f64,
}

impl Clock {
    /// None where the device writes no timestamps.
    ///
    /// # Errors
    /// [`Error::Device`] and [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu) -> Result<Option<Clock>> {
        if !gpu.has_timestamps() {
            return Ok(None);
        }
        let descriptor = wgpu::QuerySetDescriptor { label: Some("clock"), ty: wgpu::QueryType::Timestamp, count: 2 };
        let set = gpu.scoped("clock", |device| device.create_query_set(&descriptor))?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let ticks = gpu.buffer_for("clock", 16, usage)?;
        Ok(Some(Clock { set, ticks, period: f64::from(gpu.queue().get_timestamp_period()) * 1e-9 }))
    }

    /// Seconds between the two timestamps that were read; none where the device gave none.
    pub fn seconds(&self, ticks: [u64; 2]) -> Option<f64> {
        let [begin, end] = ticks;
        (end > begin).then(|| (end - begin) as f64 * self.period)
    }

    /// What a pass is told, to be timed.
    pub(super) fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Records the reading of what was timed.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, &self.ticks.raw, 0);
    }
}

impl Gpu {
    /// Whether the device writes timestamps, so that [`Gpu::timed`] works.
    pub fn has_timestamps(&self) -> bool {
        self.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Runs programs once, in order, and tells how long every dispatch took. Each runs in a pass of its own, so what
    /// lies between two of them is not counted.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device writes no timestamps (one that was adopted may lack the feature
    /// `TIMESTAMP_QUERY`); [`Error::Device`] and [`Error::DeviceLost`].
    pub fn timed(&self, programs: &[&Program]) -> Result<Vec<Timed>> {
        if !self.has_timestamps() {
            let what = "timing dispatches".into();
            return Err(Error::Limit { what, needs: 1, allowed: 0, limit: "TIMESTAMP_QUERY of the device" });
        }
        let commands: Vec<_> = programs.iter().flat_map(|program| program.commands()).collect();
        let mut times = Vec::with_capacity(commands.len());
        for part in commands.chunks(TIMED) {
            let count = part.len() as u32 * 2;
            let bytes = u64::from(count) * 8;
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let resolved = self.buffer_for("timestamps", bytes, usage)?;
            self.scoped("timed", |device| {
                let descriptor =
                    wgpu::QuerySetDescriptor { label: Some("timestamps"), ty: wgpu::QueryType::Timestamp, count };
                let query_set = &device.create_query_set(&descriptor);
                let mut encoder = device.create_command_encoder(&Default::default());
                for (i, command) in part.iter().enumerate() {
                    let [begin, end] = [0, 1].map(|at| Some(i as u32 * 2 + at));
                    let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                        query_set,
                        beginning_of_pass_write_index: begin,
                        end_of_pass_write_index: end,
                    });
                    let descriptor = wgpu::ComputePassDescriptor { label: Some(command.label()), timestamp_writes };
                    command.record(&mut encoder.begin_compute_pass(&descriptor));
                }
                encoder.resolve_query_set(query_set, 0..count, &resolved.raw, 0);
                self.queue().submit([encoder.finish()]);
            })?;
            let mut readback = Readback::new(self, bytes)?;
            readback.start(&[(&resolved, 0..bytes)])?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&readback.wait()?);
            let period = f64::from(self.queue().get_timestamp_period()) * 1e-9;
            times.extend(part.iter().zip(ticks.chunks(2)).map(|(command, ticks)| Timed {
                label: command.label().into(),
                seconds: ticks[1].saturating_sub(ticks[0]) as f64 * period,
                cost: command.cost(),
            }));
        }
        Ok(times)
    }
}
