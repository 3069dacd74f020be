//! Models bound to the host application's own buffers: what it rendered or recorded is read where it lies, and the
//! result stays there.

use std::sync::Mutex;

use super::Model;
use super::compiled::recording;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, CommandEncoder, Gpu, Program, Work, lock, record};
use crate::model::Purpose;
use crate::plan::{Dispatch, Role};
use crate::state::State;

/// A purpose bound to the host application's own buffers: see [`Model::attach`]. It keeps what it needs of the model,
/// which may be dropped before it.
#[derive(Debug)]
pub struct Attached {
    gpu: Gpu,
    program: Program,
    state: Buffer,
    rows: usize,
    /// The state of the number of rows that was asked for last. It is never written again: commands that were recorded
    /// read it.
    asked: Mutex<Option<(usize, Buffer)>>,
    /// The host's rows, and a copy of them that is read instead, where one dispatch would read and write one buffer of
    /// the host's.
    copied: Option<[Buffer; 2]>,
}

impl Attached {
    /// Computes the first `rows` rows. Nothing is read back and nothing waits, so nobody looks whether the results are
    /// finite either.
    ///
    /// # Errors
    /// [`Error::Spec`] where there are more rows than were attached for; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn run(&self, rows: usize) -> Result<()> {
        let state = self.state_of(rows)?;
        self.gpu.submit(self.work(&state))?;
        self.gpu.alive()
    }

    /// Records the computation of the first `rows` rows into the host's own command encoder, in the order of whatever
    /// else is recorded there: strait submits nothing. It takes part where the host submits, as often as that has been
    /// recorded.
    ///
    /// ```no_run
    /// # fn show(attached: &strait::inference::Attached, device: &strait::wgpu::Device, queue: &strait::wgpu::Queue)
    /// #     -> strait::Result<()> {
    /// let mut encoder = device.create_command_encoder(&Default::default());
    /// // The host's passes that make the rows, then
    /// attached.record(&mut encoder, 64)?;
    /// // and the host's passes that read the codes.
    /// queue.submit([encoder.finish()]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Spec`] where there are more rows than were attached for; [`Error::Device`] and [`Error::DeviceLost`].
    /// What is wrong with the encoder is reported where the host finishes it.
    pub fn record(&self, encoder: &mut CommandEncoder, rows: usize) -> Result<()> {
        let state = self.state_of(rows)?;
        record(encoder, self.work(&state), None);
        self.gpu.alive()
    }

    /// What is run: the number of rows takes its turn with the rest, so that no other thread's call comes between.
    fn work<'a>(&'a self, state: &'a Buffer) -> impl Iterator<Item = Work<'a>> {
        let copied = self.copied.iter().map(|[host, own]| Work::Copy(host, own));
        [Work::Copy(state, &self.state)].into_iter().chain(copied).chain([Work::Run(&self.program)])
    }

    /// The state of so many rows.
    fn state_of(&self, rows: usize) -> Result<Buffer> {
        self.check(rows)?;
        let mut asked = lock(&self.asked);
        if let Some((_, state)) = asked.as_ref().filter(|(of, _)| *of == rows) {
            return Ok(state.clone());
        }
        let state = self.gpu.buffer("state of some rows", 64)?;
        self.gpu.write(&state, 0, bytemuck::bytes_of(&State::once(rows, 0)))?;
        *asked = Some((rows, state.clone()));
        Ok(state)
    }

    /// Fails where there are more rows than there is room for.
    fn check(&self, rows: usize) -> Result<()> {
        let most = || format!("at most the {} rows attached for", self.rows);
        if rows > self.rows { Err(Error::spec("rows", rows, most())) } else { Ok(()) }
    }
}

impl Model {
    /// Binds encoding, decoding, reconstructing or scoring to buffers on the GPU, for up to `rows` rows without
    /// padding: what the host rendered or recorded is read where it lies, and the result stays there.
    ///
    /// # Errors
    /// [`Error::Spec`] for a purpose that reads no batch, where a buffer lacks the usage `STORAGE` (and that of the rows `COPY_SRC`,
    /// where it is that of the results, too), and where a part of a buffer begins where the device binds none; [`Error::Limit`]
    /// where a buffer is too small. All name the buffer. [`Error::Data`] where the scaling of
    /// the input is not known yet; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn attach(&self, purpose: Purpose, input: Buffer, output: Buffer, rows: usize) -> Result<Attached> {
        if matches!(purpose, Purpose::Resample | Purpose::Corrupt | Purpose::Evidence) {
            let allowed = "one that draws nothing: every run would draw the same";
            return Err(Error::spec("purpose", format!("{purpose:?}"), allowed));
        }
        let recording = recording(self, purpose, rows, self.tuning())?;
        let state = self.gpu().buffer("state", 64)?;
        for (place, buffer) in [("input buffer", &input), ("output buffer", &output)] {
            buffer.check_binding(self.gpu(), place)?;
        }
        // WebGPU lets no dispatch read and write one buffer, be it different parts of it.
        let both = |dispatch: &Dispatch| {
            [Role::Input(0), Role::Output(0)]
                .iter()
                .all(|role| dispatch.bindings.iter().any(|place| place.role == *role))
        };
        let copied = match input.is_of(&output) && recording.dispatches.iter().any(both) {
            true => {
                // Rows beside results in one buffer are read out of a copy.
                input.check_source("input buffer")?;
                Some([input.clone(), self.gpu().buffer("copied rows", input.bytes())?])
            }
            false => None,
        };
        let mut shared = self.resident().shared.clone();
        shared.insert(Role::Input(0), copied.as_ref().map_or(&input, |[_, own]| own).clone());
        shared.insert(Role::Output(0), output);
        let program = Program::new(self.gpu(), &recording, &state, &shared)?;
        Ok(Attached { gpu: self.gpu().clone(), program, state, rows, asked: Mutex::new(None), copied })
    }
}
