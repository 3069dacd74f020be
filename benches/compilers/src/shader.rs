//! A kernel's WGSL as the SPIR-V that wgpu hands to a Vulkan driver.

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use strait::internals::kernel::Reflection;

use crate::Result;

/// Translates a kernel with the options of wgpu 30 on Vulkan 1.3. Indices into workgroup memory are restricted, since
/// nothing else checks them; so are those into buffers, unless the driver checks them (`robust`: robustBufferAccess2).
/// Workgroup memory is not set to zero, as strait asks for.
///
/// # Errors
/// Where naga refuses the module.
pub fn spirv(kernel: &Reflection, robust: bool) -> Result<Vec<u32>> {
    let may = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), may).validate(&kernel.module).map_err(|e| e.into_inner())?;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: if robust { BoundsCheckPolicy::Unchecked } else { BoundsCheckPolicy::Restrict },
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: true,
        emit_int_div_checks: true,
        ..Default::default()
    };
    let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    Ok(spv::write_vec(&kernel.module, &info, &options, Some(&entry))?)
}
