//! What naga reads out of a kernel's WGSL: the WGSL is the one source of its bindings and sizes.

use crate::error::{Error, Result};

/// The kind of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// A uniform buffer.
    Uniform,
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is also written.
    ReadWrite,
}

/// A binding of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its number.
    pub index: u32,
    /// Its kind.
    pub space: Space,
}

/// What a kernel declares.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// The parsed module.
    pub module: naga::Module,
    /// The bindings of group 0 in the order of their numbers.
    pub bindings: Vec<Binding>,
    /// Threads in a workgroup.
    pub workgroup: [u32; 3],
}

/// Parses a kernel and lists its bindings.
///
/// # Errors
/// [`Error::Kernel`] with the compiler's message where the text is no valid WGSL.
pub fn reflect(label: &str, wgsl: &str) -> Result<Reflection> {
    let fail = |message: String| Error::Kernel { kernel: label.to_string(), message };
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| fail(e.emit_to_string(wgsl)))?;
    let mut bindings: Vec<Binding> = Vec::new();
    for (_, global) in module.global_variables.iter() {
        let Some(binding) = &global.binding else { continue };
        let space = match global.space {
            naga::AddressSpace::Uniform => Space::Uniform,
            naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => Space::ReadWrite,
            naga::AddressSpace::Storage { .. } => Space::Read,
            other => return Err(fail(format!("binding {} lies in {other:?}", binding.binding))),
        };
        bindings.push(Binding { index: binding.binding, space });
    }
    bindings.sort_by_key(|b| b.index);
    let workgroup = match module.entry_points.as_slice() {
        [entry] => entry.workgroup_size,
        others => return Err(fail(format!("{} entry points, one is needed", others.len()))),
    };
    Ok(Reflection { module, bindings, workgroup })
}
