//! The Vulkan driver whose compiler is asked: the first device that the loader finds. Nothing runs on it, so the device
//! need not be there.

use std::ffi::{CStr, c_char};
use std::ops::RangeInclusive;

use ash::{ext, khr, vk};
use strait::internals::kernel::{Reflection, Space};

use crate::Result;

/// A device of a driver that tells what it compiled.
pub struct Driver {
    /// The names of the device and of its driver.
    pub name: String,
    /// Whether the driver checks indices into buffers itself.
    pub robust: bool,
    /// Rows and columns of the square matrices of 16 bits, summed in single precision, that subgroups can multiply.
    pub matrices: Vec<u32>,
    /// The least and the most threads that a subgroup may have.
    pub subgroups: RangeInclusive<u32>,
    executables: khr::pipeline_executable_properties::Device,
    device: ash::Device,
    instance: ash::Instance,
    // The loader's library stays open as long as this does.
    _entry: ash::Entry,
}

/// What a driver tells of one kernel that it compiled.
pub struct Compiled {
    /// Threads of a subgroup.
    pub subgroup: u32,
    /// Every statistic that it keeps, by its own name.
    pub statistics: Vec<(String, f64)>,
    /// The text of the machine code, empty where it gives none.
    pub assembly: String,
}

impl Compiled {
    /// The statistic of this name.
    pub fn statistic(&self, name: &str) -> Option<f64> {
        self.statistics.iter().find(|(found, _)| found == name).map(|&(_, value)| value)
    }
}

impl Driver {
    /// Opens the first device.
    ///
    /// # Errors
    /// Where there is no loader, no device, or none that tells what it compiled.
    pub fn open() -> Result<Driver> {
        // SAFETY: the system's loader is an ordinary library, whose initialisation asks for nothing.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| format!("no Vulkan loader: {error}"))?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: the create info lives through the call and names neither layers nor extensions.
        let instance = unsafe { entry.create_instance(&create, None) }?;
        match Opening::new(&entry, &instance) {
            Ok(Opening { name, robust, matrices, subgroups, device }) => {
                let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
                Ok(Driver { name, robust, matrices, subgroups, executables, device, instance, _entry: entry })
            }
            Err(error) => {
                // SAFETY: nothing that was made from the instance is left.
                unsafe { instance.destroy_instance(None) };
                Err(error)
            }
        }
    }

    /// Compiles a kernel, with subgroups of so many threads where that matters.
    ///
    /// # Errors
    /// Where the driver refuses it.
    pub fn compile(&self, kernel: &Reflection, spirv: &[u32], subgroup: Option<u32>) -> Result<Compiled> {
        let mut made = Made { device: &self.device, layout: None, pipeline_layout: None, module: None, pipeline: None };
        let bindings: Vec<_> = kernel
            .bindings
            .iter()
            .map(|binding| {
                let kind = match binding.space {
                    Space::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                    Space::Read | Space::ReadWrite => vk::DescriptorType::STORAGE_BUFFER,
                };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding.index)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the device is alive, as in every call below; the create info and what it points to live through the
        // call, and `made` destroys what it returns.
        let layout = *made.layout.insert(unsafe { self.device.create_descriptor_set_layout(&create, None) }?);
        let layouts = [layout];
        let create = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts);
        // SAFETY: as above, and the layout was made from this device.
        let pipeline_layout =
            *made.pipeline_layout.insert(unsafe { self.device.create_pipeline_layout(&create, None) }?);
        let create = vk::ShaderModuleCreateInfo::default().code(spirv);
        // SAFETY: as above; naga has validated the module that these words were written from.
        let module = *made.module.insert(unsafe { self.device.create_shader_module(&create, None) }?);

        let mut size = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default();
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        stage = match subgroup {
            Some(threads) => {
                size = size.required_subgroup_size(threads);
                stage.push_next(&mut size)
            }
            // As wgpu does where the device has subgroups.
            None => stage.flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE),
        };
        let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
            | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        let create = [vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage).layout(pipeline_layout)];
        // SAFETY: as above; module and layout were made from this device, and the layout has every binding that the
        // module reads.
        let pipelines = unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &create, None) };
        let pipelines = pipelines.map_err(|(_, error)| format!("vkCreateComputePipelines says {error:?}"))?;
        let pipeline = *made.pipeline.insert(pipelines[0]);
        self.told(pipeline)
    }

    /// What the driver tells of a pipeline's only executable.
    fn told(&self, pipeline: vk::Pipeline) -> Result<Compiled> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline was made from this device and is alive; the same holds for the calls below, and it was
        // made with the flags that they need.
        let properties = unsafe { self.executables.get_pipeline_executable_properties(&info) }?;
        let subgroup = properties.first().ok_or("the driver shows no executable")?.subgroup_size;
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // SAFETY: as above; there is an executable 0.
        let found = unsafe { self.executables.get_pipeline_executable_statistics(&info) }?;
        let statistics = found.iter().map(|one| (text(&one.name), value(one))).collect();
        // SAFETY: as above. The first call tells how long each text is, which are then read into places of that length.
        let mut texts = unsafe { self.executables.get_pipeline_executable_internal_representations(&info) }?;
        let mut room: Vec<Vec<u8>> = texts.iter().map(|text| vec![0; text.data_size]).collect();
        for (text, room) in texts.iter_mut().zip(&mut room) {
            text.p_data = room.as_mut_ptr().cast();
        }
        let mut count = texts.len() as u32;
        let read = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        // SAFETY: as above; `texts` has `count` elements, each of which points to as many bytes as it says.
        unsafe { read(self.executables.device(), &info, &mut count, texts.as_mut_ptr()) }.result()?;
        let assembly = texts.iter().zip(&room).find(|(one, _)| text(&one.name).to_lowercase().contains("assembly"));
        let assembly = assembly.map(|(_, bytes)| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string());
        Ok(Compiled { subgroup, statistics, assembly: assembly.unwrap_or_default() })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: both are alive, nothing made from the device is left, and the device goes before its instance.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// What is made of an instance.
struct Opening {
    name: String,
    robust: bool,
    matrices: Vec<u32>,
    subgroups: RangeInclusive<u32>,
    device: ash::Device,
}

impl Opening {
    fn new(entry: &ash::Entry, instance: &ash::Instance) -> Result<Opening> {
        // SAFETY: the instance is alive, as in every call of this function, and the physical device is one of its own.
        let found = unsafe { instance.enumerate_physical_devices() };
        let found = found.map_err(|error| format!("no Vulkan device: vkEnumeratePhysicalDevices says {error:?}"))?;
        let physical = *found.first().ok_or("no Vulkan device: the drivers offer none")?;
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut size = vk::PhysicalDeviceSubgroupSizeControlProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver).push_next(&mut size);
        // SAFETY: as above; what is written to lives through the call.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let (device_name, version) = (text(&properties.properties.device_name), properties.properties.api_version);
        let name = format!("{device_name}, {} {}", text(&driver.driver_name), text(&driver.driver_info));
        let subgroups = size.min_subgroup_size..=size.max_subgroup_size;
        if version < vk::API_VERSION_1_3 {
            return Err(format!("{name} has no Vulkan 1.3, which this crate writes SPIR-V for").into());
        }
        // SAFETY: as above.
        let offered = unsafe { instance.enumerate_device_extension_properties(physical) }?;
        let has = |wanted: &CStr| offered.iter().any(|one| one.extension_name_as_c_str() == Ok(wanted));
        if !has(khr::pipeline_executable_properties::NAME) {
            return Err(format!(
                "{name} does not tell what it compiled: it lacks VK_KHR_pipeline_executable_properties"
            )
            .into());
        }
        let matrices =
            if has(khr::cooperative_matrix::NAME) { matrices(entry, instance, physical)? } else { Vec::new() };

        let mut extensions = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        let mut executable = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut cooperative = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut v13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut features = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut executable)
            .push_next(&mut v11)
            .push_next(&mut v12)
            .push_next(&mut v13);
        if has(ext::robustness2::NAME) {
            extensions.push(ext::robustness2::NAME.as_ptr());
            features = features.push_next(&mut robustness);
        }
        if has(khr::cooperative_matrix::NAME) {
            extensions.push(khr::cooperative_matrix::NAME.as_ptr());
            features = features.push_next(&mut cooperative);
        }
        // SAFETY: as above; every structure of the chain belongs to Vulkan 1.3 or to an extension that is there.
        unsafe { instance.get_physical_device_features2(physical, &mut features) };
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        // All that is there is asked for, as it was found.
        let create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut features);
        // SAFETY: as above; every Vulkan device has a queue family 0 with a queue, and the names are constants.
        let device = unsafe { instance.create_device(physical, &create, None) };
        let device = device.map_err(|error| format!("{name}: vkCreateDevice says {error:?}"))?;
        let robust = robustness.robust_buffer_access2 == vk::TRUE;
        Ok(Opening { name, robust, matrices, subgroups, device })
    }
}

/// Rows and columns of the square matrices that the kernels could use.
fn matrices(entry: &ash::Entry, instance: &ash::Instance, physical: vk::PhysicalDevice) -> Result<Vec<u32>> {
    let cooperative = khr::cooperative_matrix::Instance::new(entry, instance);
    // SAFETY: the physical device is of this instance, and it has the extension.
    let found = unsafe { cooperative.get_physical_device_cooperative_matrix_properties(physical) }?;
    let (half, single) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
    let usable = found.iter().filter(|one| {
        [one.m_size, one.k_size] == [one.n_size; 2]
            && [one.a_type, one.b_type] == [half; 2]
            && [one.c_type, one.result_type] == [single; 2]
            && one.scope == vk::ScopeKHR::SUBGROUP
    });
    Ok(usable.map(|one| one.m_size).collect())
}

/// What has been made of a device for one kernel, in the order in which it was made.
struct Made<'a> {
    device: &'a ash::Device,
    layout: Option<vk::DescriptorSetLayout>,
    pipeline_layout: Option<vk::PipelineLayout>,
    module: Option<vk::ShaderModule>,
    pipeline: Option<vk::Pipeline>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // SAFETY: each was made from this device, is destroyed once, and nothing uses it: no work is ever submitted.
        unsafe {
            self.pipeline.inspect(|&one| self.device.destroy_pipeline(one, None));
            self.module.inspect(|&one| self.device.destroy_shader_module(one, None));
            self.pipeline_layout.inspect(|&one| self.device.destroy_pipeline_layout(one, None));
            self.layout.inspect(|&one| self.device.destroy_descriptor_set_layout(one, None));
        }
    }
}

/// A name that a driver has filled in.
fn text(name: &[c_char]) -> String {
    let bytes: Vec<u8> = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn value(statistic: &vk::PipelineExecutableStatisticKHR<'_>) -> f64 {
    let value = statistic.value;
    // SAFETY: the format says which field of the union the driver has filled in.
    unsafe {
        match statistic.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => f64::from(value.b32),
            vk::PipelineExecutableStatisticFormatKHR::INT64 => value.i64 as f64,
            vk::PipelineExecutableStatisticFormatKHR::UINT64 => value.u64 as f64,
            vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => value.f64,
            _ => f64::NAN,
        }
    }
}
