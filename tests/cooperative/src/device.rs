//! A device as a host application makes it, with the matrices that wgpu calls experimental.

use std::sync::OnceLock;

use strait::Gpu;
use strait::internals::kernel::Tile;
use strait::internals::plan::Target;

/// An adapter with cooperative matrices, and a device that was asked for them.
pub fn devices() -> (wgpu::Adapter, wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let wanted = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let adapter = adapters.into_iter().find(|adapter| adapter.features().contains(wanted));
    let adapter =
        adapter.expect("an adapter with cooperative matrices: Mesa's software Vulkan has them since version 26");
    let descriptor = wgpu::DeviceDescriptor {
        required_features: Gpu::features(&adapter) | wanted,
        required_limits: adapter.limits(),
        // SAFETY: the kernels are strait's own; what the feature may do wrong is what this suite is there to find.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    (adapter, device, queue)
}

/// The one device that strait has adopted.
pub fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    let made = || {
        let (adapter, device, queue) = devices();
        Gpu::adopt_cooperative(&adapter, device, queue)
    };
    GPU.get_or_init(made).clone()
}

/// The tile for the adapter's matrices.
pub fn cooperative(gpu: &Gpu) -> Tile {
    let target = Target::of(gpu, 1);
    let fits = |tile: &Tile| matches!(tile, Tile::Cooperative { .. }) && target.can_use(*tile);
    Tile::ALL.into_iter().find(fits).expect("matrices of 16 bits that are summed in 32")
}
