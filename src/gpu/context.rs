//! The context: choosing, creating or adopting a device, and turning what it complains about into errors.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::buffer::Staged;
use super::program::Pipeline;
use super::waiter::Waiter;
use crate::error::{Error, Result};
use crate::plan::{AdapterKind, Limits};

/// What a machine offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// The adapter's name.
    pub name: String,
    /// The driver, with its version where it tells.
    pub driver: String,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Whether it runs shaders on the CPU.
    pub software: bool,
    /// Where it sits on the PCI bus, as `0000:65:00.0`: what tells twins apart. Empty where the driver does not say.
    pub pci: String,
}

/// How to choose an adapter and which limits to ask of it. What is `None` fits any; an adapter must fit all that is
/// given.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case.
    pub adapter: Option<String>,
    /// Its place in [`Gpu::adapters`], counted from 0. That may change with the machine's devices and drivers.
    pub index: Option<usize>,
    /// Its [`AdapterSummary::pci`], which stays as long as nobody moves the card.
    pub pci: Option<String>,
    /// Prefers an integrated adapter to a discrete one.
    pub low_power: bool,
    /// Asks for WebGPU's default limits rather than all that the adapter offers.
    pub default_limits: bool,
}

/// A device to compute on. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    limits: Limits,
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    staged: Mutex<Staged>,
    troubles: Arc<Mutex<Troubles>>,
    /// Whether the device is strait's own, so that its callbacks are.
    own: bool,
    /// Whether the host polls the device, so that nobody else waits for it.
    polled: AtomicBool,
    waiter: Arc<Waiter>,
}

/// What became of the device, and what it reported outside any call of ours.
#[derive(Default)]
struct Troubles {
    /// Why it is lost, as its callback or the host says.
    lost: Option<String>,
    /// Whether it was found to be lost, which may be before anybody says why.
    gone: bool,
    /// The first error that belongs to no call of ours.
    error: Option<String>,
}

impl Troubles {
    fn loss(&self) -> Option<Error> {
        let found = || self.gone.then(|| GONE.to_string());
        self.lost.clone().or_else(found).map(|reason| Error::DeviceLost { reason })
    }
}

/// The reason where nobody gives one.
const GONE: &str = "it takes no work any more: the driver reset it, or it was unplugged or destroyed";

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.0.summary).field("limits", &self.0.limits).finish()
    }
}

/// A lock whose data stays usable when a thread that held it panicked: all of it is valid after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn instance() -> wgpu::Instance {
    let flags = wgpu::InstanceFlags::empty();
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    wgpu::Instance::new(wgpu::InstanceDescriptor { flags, backends: wgpu::Backends::PRIMARY, ..descriptor })
}

fn summarise(info: &wgpu::AdapterInfo) -> AdapterSummary {
    AdapterSummary {
        name: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        backend: format!("{:?}", info.backend),
        software: info.device_type == wgpu::DeviceType::Cpu,
        pci: info.device_pci_bus_id.clone(),
    }
}

impl GpuOptions {
    /// Whether the adapter at a place is one of those that are asked for.
    fn fits(&self, at: usize, adapter: &AdapterSummary) -> bool {
        let named = |name: &String| adapter.name.to_lowercase().contains(&name.to_lowercase());
        let placed = |pci: &String| adapter.pci.eq_ignore_ascii_case(pci);
        self.adapter.as_ref().is_none_or(named)
            && self.index.is_none_or(|index| index == at)
            && self.pci.as_ref().is_none_or(placed)
    }

    /// The error where none of the adapters seen will do: there is none, or none that fits.
    fn none_of(&self, seen: &[AdapterSummary]) -> Error {
        let name = self.adapter.as_ref().map(|name| format!("whose name has {name:?} in it"));
        let index = self.index.map(|index| format!("that is number {index}"));
        let pci = self.pci.as_ref().map(|pci| format!("at {pci:?} on the PCI bus"));
        let wanted: Vec<String> = [name, index, pci].into_iter().flatten().collect();
        let driver = "install a driver (on Linux, mesa-vulkan-drivers gives one that runs on any machine)";
        if seen.is_empty() || wanted.is_empty() {
            return Error::NoAdapter {
                tried: "Vulkan, Metal and DX12; no adapter answered".into(),
                advice: driver.into(),
            };
        }
        let there = seen.iter().enumerate().map(|(at, AdapterSummary { name, pci, .. })| {
            let place = if pci.is_empty() { String::new() } else { format!(" at {pci}") };
            format!("{at}: {name:?}{place}")
        });
        let there: Vec<String> = there.collect();
        let (tried, there) = (format!("for one {}", wanted.join(" and ")), there.join(", "));
        Error::NoAdapter { tried, advice: format!("there are {there}: ask for a part of such a name, or for any") }
    }
}

/// The side of the largest square matrices whose factors have 16 bits and whose sums 32, or 0.
fn squares(matrices: &[wgpu::CooperativeMatrixProperties]) -> u32 {
    use wgpu::CooperativeScalarType::{F16, F32};
    let fit = matrices.iter().filter(|m| {
        (m.ab_type, m.cr_type) == (F16, F32)
            && m.m_size == m.n_size
            && m.n_size == m.k_size
            && !m.saturating_accumulation
    });
    fit.map(|m| m.m_size).max().unwrap_or(0)
}

impl Gpu {
    /// The best adapter of this machine: hardware before software, discrete before integrated.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where there is none, [`Error::Device`] where it gives no device.
    pub fn new() -> Result<Gpu> {
        Gpu::with(&GpuOptions::default())
    }

    /// The best adapter that fits the options.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub fn with(options: &GpuOptions) -> Result<Gpu> {
        pollster::block_on(Gpu::with_async(options))
    }

    /// As [`Gpu::with`], without blocking.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn with_async(options: &GpuOptions) -> Result<Gpu> {
        let adapters = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
        let seen: Vec<AdapterSummary> = adapters.iter().map(|a| summarise(&a.get_info())).collect();
        let rank = |a: &wgpu::Adapter| match (a.get_info().device_type, options.low_power) {
            (wgpu::DeviceType::DiscreteGpu, false) | (wgpu::DeviceType::IntegratedGpu, true) => 0,
            (wgpu::DeviceType::DiscreteGpu, true) | (wgpu::DeviceType::IntegratedGpu, false) => 1,
            (wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other, _) => 2,
            (wgpu::DeviceType::Cpu, _) => 3,
        };
        let fitting = adapters.into_iter().enumerate().filter(|(at, _)| options.fits(*at, &seen[*at]));
        let Some(adapter) = fitting.map(|(_, adapter)| adapter).min_by_key(rank) else {
            return Err(options.none_of(&seen));
        };
        let limits = if options.default_limits { wgpu::Limits::default() } else { adapter.limits() };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("strait"),
            required_limits: limits,
            required_features: Gpu::features(&adapter),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let failed =
            |e: wgpu::RequestDeviceError| Error::Device { op: "request_device".into(), message: e.to_string() };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(failed)?;
        let gpu = Gpu::on(device, queue, &[], true);
        let troubles = gpu.0.troubles.clone();
        gpu.0.device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("the device reports: {error}");
            lock(&troubles).error.get_or_insert(error.to_string());
        }));
        let troubles = gpu.0.troubles.clone();
        gpu.0.device.set_device_lost_callback(move |reason, message| {
            lock(&troubles).lost.get_or_insert(format!("{reason:?}: {message}"));
        });
        log::info!("computing on {}", gpu.0.summary.name);
        Ok(gpu)
    }

    const USEFUL: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
        .union(wgpu::Features::SUBGROUP)
        .union(wgpu::Features::SHADER_INT64)
        .union(wgpu::Features::SHADER_F16);

    /// What strait can make use of: timestamps for profiles; subgroups and integers of 64 bits, with which products run
    /// up to three times as fast on software adapters; numbers of 16 bits, for models in half precision. It works
    /// without; a host that shares its device asks for these of its adapter.
    pub fn features(adapter: &wgpu::Adapter) -> wgpu::Features {
        adapter.features() & Gpu::USEFUL
    }

    /// Computes on the host application's own device. Its error and device-lost handlers are left alone. A lost device
    /// is found out when strait next uses it; where the host's device-lost callback calls [`Gpu::device_lost`], the
    /// error gives the reason, too.
    pub fn adopt(device: wgpu::Device, queue: wgpu::Queue) -> Gpu {
        Gpu::on(device, queue, &[], false)
    }

    /// As [`Gpu::adopt`], on a device whose cooperative matrices may be used. Asking for them is up to the host, since
    /// wgpu calls the feature experimental: [`wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX`], beside those of
    /// [`Gpu::features`]. Products of models in half precision then try them when they are tuned
    /// ([`crate::Session::tune`]), and use them where they are faster; nothing else does.
    pub fn adopt_cooperative(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Gpu {
        Gpu::on(device, queue, &adapter.cooperative_matrix_properties(), false)
    }

    fn on(device: wgpu::Device, queue: wgpu::Queue, matrices: &[wgpu::CooperativeMatrixProperties], own: bool) -> Gpu {
        let (offered, info) = (device.limits(), device.adapter_info());
        let has = |feature| device.features().contains(feature);
        let subgroups = has(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        let limits = Limits {
            binding_bytes: offered.max_storage_buffer_binding_size.min(1 << 31),
            buffer_bytes: offered.max_buffer_size,
            workgroups: offered.max_compute_workgroups_per_dimension,
            storage_buffers: (offered.max_storage_buffers_per_shader_stage as usize).saturating_sub(1).min(15),
            subgroup: if subgroups { info.subgroup_max_size } else { 0 },
            int64: has(wgpu::Features::SHADER_INT64),
            f16: has(wgpu::Features::SHADER_F16),
            cooperative: if has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) { squares(matrices) } else { 0 },
            // No API tells a device's cores. Discrete GPUs have from 20 to 140 of them, others 4 to 40.
            busy: if info.device_type == wgpu::DeviceType::DiscreteGpu { 128 } else { Limits::DEFAULT.busy },
        };
        let summary = summarise(&info);
        let (pipelines, staged, troubles, polled, waiter) = Default::default();
        Gpu(Arc::new(Inner { device, queue, summary, limits, pipelines, staged, troubles, own, polled, waiter }))
    }

    /// Says that the host polls the device by itself, such as once a frame (`device.poll(wgpu::PollType::Poll)`): what is
    /// awaited then arrives with its polls, and strait has no thread of its own wait for the device. By itself it has one
    /// while something is awaited. What is awaited already stays with who waits for it.
    pub fn polled_by_host(&self, polled: bool) {
        self.0.polled.store(polled, Ordering::Relaxed);
    }

    /// The thread that waits for the device in the place of who awaits it; none where the host polls.
    pub(super) fn waiter(&self) -> Option<&Arc<Waiter>> {
        (!self.0.polled.load(Ordering::Relaxed)).then_some(&self.0.waiter)
    }

    /// Every adapter of this machine, in the order of [`GpuOptions::index`].
    pub fn adapters() -> Vec<AdapterSummary> {
        let adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::PRIMARY));
        adapters.iter().map(|a| summarise(&a.get_info())).collect()
    }

    /// The adapter in use.
    pub fn adapter(&self) -> &AdapterSummary {
        &self.0.summary
    }

    /// How its kernels are chosen.
    #[doc(hidden)]
    pub fn kind(&self) -> AdapterKind {
        if self.0.summary.software { AdapterKind::Software } else { AdapterKind::Hardware }
    }

    /// Whether the device is the host application's own, so that its frames wait behind strait's work.
    pub(crate) fn is_shared(&self) -> bool {
        !self.0.own
    }

    /// Whether the other one is a handle to the same device, as far as wgpu tells: it numbers the devices of each instance by
    /// themselves.
    pub(crate) fn has_device_of(&self, other: &Gpu) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        let adopted = !self.0.own && !other.0.own;
        let alike = self.0.device == other.0.device && self.0.summary == other.0.summary;
        adopted && alike && self.alive().is_ok() == other.alive().is_ok()
    }

    /// The limits that plans must keep.
    #[doc(hidden)]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The device, for a host that shares it.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The queue, for a host that shares it.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Tells strait that the device is gone; every later call then fails with [`Error::DeviceLost`].
    pub fn device_lost(&self, reason: impl Into<String>) {
        lock(&self.0.troubles).lost.get_or_insert(reason.into());
    }

    pub(super) fn pipelines(&self) -> MutexGuard<'_, HashMap<String, Arc<Pipeline>>> {
        lock(&self.0.pipelines)
    }

    pub(super) fn staged(&self) -> &Mutex<Staged> {
        &self.0.staged
    }

    /// Fails where the device is known to be lost.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        lock(&self.0.troubles).loss().map_or(Ok(()), Err)
    }

    /// The first error since the last call of this that the device reported outside any call of strait's, such as one
    /// that the host made on [`Gpu::device`] without an error scope. All of them are logged; none of them makes a call
    /// of strait's fail. On an adopted device they go to the host's own handler.
    pub fn uncaptured_error(&self) -> Option<Error> {
        let message = lock(&self.0.troubles).error.take()?;
        Some(Error::Device { op: "a call outside strait".into(), message })
    }

    /// Fails where the device is lost. On a lost device most calls of wgpu do nothing and report nothing, so whatever
    /// neither writes nor reads anything back ends with this.
    pub(crate) fn alive(&self) -> Result<()> {
        if !self.0.own {
            return self.ask();
        }
        // Cheaper: the callback of the own device tells while it is polled.
        self.poll_once()?;
        self.check()
    }

    /// As [`Gpu::alive`], asking the device itself.
    pub(super) fn ask(&self) -> Result<()> {
        self.check()?;
        // Memory that is mapped from the beginning is there at once, or never.
        let device = &self.0.device;
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor { label: Some("alive"), size: 16, usage, mapped_at_creation: true };
        let (answered, error) = self.captured(|| device.create_buffer(&descriptor).get_mapped_range(..).is_ok());
        if answered || matches!(error, Some(wgpu::Error::OutOfMemory { .. })) {
            return Ok(());
        }
        lock(&self.0.troubles).gone = true;
        self.check()
    }

    /// The error of an operation that went wrong: that the device is lost, where it is, whatever wgpu reported.
    pub(super) fn failure(&self, op: &str, message: impl ToString) -> Error {
        let failed = || Error::Device { op: op.to_string(), message: message.to_string() };
        self.ask().err().unwrap_or_else(failed)
    }

    /// Polls the device without waiting, and so finds out what has arrived.
    pub(crate) fn poll_once(&self) -> Result<()> {
        self.check()?;
        self.poll(wgpu::PollType::Poll)
    }

    /// Polls the device, and so calls back whoever waits for it.
    pub(super) fn poll(&self, how: wgpu::PollType) -> Result<()> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.device.poll(how)));
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failure("wait", error)),
            // wgpu panics where the driver says in a wait that the device is lost. Any other panic is one of a
            // callback, which goes to whoever polls.
            Err(panic) => match self.ask() {
                Err(lost) => Err(lost),
                Ok(()) => resume_unwind(panic),
            },
        }
    }

    /// Runs calls to wgpu and returns the first error that the device reports in them.
    pub(super) fn scoped<R>(&self, op: &str, calls: impl FnOnce(&wgpu::Device) -> R) -> Result<R> {
        self.check()?;
        match self.captured(|| calls(&self.0.device)) {
            (_, Some(error)) => Err(self.failure(op, error)),
            (result, None) => Ok(result),
        }
    }

    /// Runs calls to wgpu and tells the first error that the device reports in them.
    fn captured<R>(&self, calls: impl FnOnce() -> R) -> (R, Option<wgpu::Error>) {
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];
        let mut guards: Vec<_> = filters.map(|f| self.0.device.push_error_scope(f)).into();
        let result = calls();
        let mut found = None;
        while let Some(guard) = guards.pop() {
            found = pollster::block_on(guard.pop()).or(found);
        }
        (result, found)
    }
}
