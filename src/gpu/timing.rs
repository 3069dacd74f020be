//! Timing on the device: how long every dispatch of some programs takes, and how fast the adapter is at best.

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
                encoder.resolve_query_set(query_set, 0..count, &resolved.0, 0);
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
