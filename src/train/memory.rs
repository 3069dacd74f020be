//! What a session holds on the device.

use super::Session;
use crate::gpu::Buffer;
use crate::inference::Memory;
use crate::plan::Role;

impl Session {
    /// What the session holds on the device now, its model's included: more once data is loaded and for each way in
    /// which it was used.
    ///
    /// ```no_run
    /// # use strait::{Activation, Gpu, Session, Spec, Training, data};
    /// # let mut session =
    /// #     Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), Training::default())?;
    /// session.load(data::digits()?)?;
    /// println!("{}", session.memory());
    /// # Ok::<(), strait::Error>(())
    /// ```
    pub fn memory(&self) -> Memory {
        let own = self.course.resident.held().chain(self.course.engine.iter().flat_map(|engine| engine.held()));
        let own = own.map(|(role, buffer): (Option<Role>, &Buffer)| (role, buffer.clone()));
        Memory::of(own.chain(self.model.held()))
    }
}
