//! The host application: it has an instance, a device and a queue of its own, draws into a texture as it would into a
//! window, and knows when each of its frames was done. Nothing in here knows of strait but the features that it asks
//! its adapter for.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Instant;

use strait::{Gpu, wgpu};
use wgpu::util::DeviceExt as _;

use super::outcome::Outcome;

/// Pixels of an image's side, images that are shown side by side, and pixels of the frame.
pub const SIDE: usize = 28;
pub const SHOWN: usize = 8;
const FRAME: [u32; 2] = [640, 160];

/// Draws the images above and what the model makes of them below, each value a grey square.
const SHADER: &str = "
@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var<storage, read> reconstructions: array<f32>;

@vertex
fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
    // One triangle that covers the frame.
    return vec4(f32(i % 2u) * 4.0 - 1.0, f32(i / 2u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn colour(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
    let cell = vec2(640.0 / 8.0, 80.0);
    let image = vec2<u32>(at.xy / cell);
    let pixel = vec2<u32>(fract(at.xy / cell) * 28.0);
    let place = image.x * 784u + pixel.y * 28u + pixel.x;
    let grey = select(reconstructions[place], images[place], image.y == 0u);
    return vec4(vec3(clamp(grey, 0.0, 1.0)), 1.0);
}
";

/// The application.
pub struct Host {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    /// The images of the frame, which the application writes.
    pub images: wgpu::Buffer,
    /// What is shown below them.
    pub reconstructions: wgpu::Buffer,
    target: wgpu::Texture,
    pipeline: wgpu::RenderPipeline,
    bindings: wgpu::BindGroup,
    submitted: Sender<(usize, wgpu::SubmissionIndex)>,
    done: Receiver<(usize, Instant)>,
}

/// Waits for frames, one after the other, as a display does, and notes when each was done.
fn watch(device: wgpu::Device, submitted: Receiver<(usize, wgpu::SubmissionIndex)>) -> Receiver<(usize, Instant)> {
    let (sender, done) = channel();
    std::thread::spawn(move || {
        for (frame, index) in submitted {
            let waited = device.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: None });
            if waited.is_err() || sender.send((frame, Instant::now())).is_err() {
                break;
            }
        }
    });
    done
}

impl Host {
    /// Starts it on the best adapter.
    pub fn new() -> Outcome<Host> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = pollster::block_on(instance.request_adapter(&options))?;
        // What makes strait faster where the adapter has it: subgroups, integers of 64 bits, timestamps.
        let descriptor = wgpu::DeviceDescriptor {
            required_features: Gpu::features(&adapter),
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let [images, reconstructions] = ["images", "reconstructions"].map(|label| {
            let contents = bytemuck::cast_slice(&[0f32; SHOWN * SIDE * SIDE]);
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some(label), contents, usage })
        });
        let format = wgpu::TextureFormat::Rgba8Unorm;
        let target = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("frame"),
            size: wgpu::Extent3d { width: FRAME[0], height: FRAME[1], depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let source = wgpu::ShaderSource::Wgsl(SHADER.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("frame"), source });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("frame"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: None,
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: None,
                compilation_options: Default::default(),
                targets: &[Some(format.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("frame"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: images.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: reconstructions.as_entire_binding() },
            ],
        });
        let (submitted, waiting) = channel();
        let done = watch(device.clone(), waiting);
        Ok(Host { device, queue, images, reconstructions, target, pipeline, bindings, submitted, done })
    }

    /// Records the drawing of a frame.
    pub fn draw(&self, encoder: &mut wgpu::CommandEncoder) {
        let view = self.target.create_view(&Default::default());
        let attachment = wgpu::RenderPassColorAttachment {
            view: &view,
            depth_slice: None,
            resolve_target: None,
            ops: Default::default(),
        };
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("frame"),
            color_attachments: &[Some(attachment)],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.draw(0..3, 0..1);
    }

    /// Submits a frame.
    pub fn submit(&self, frame: usize, encoder: wgpu::CommandEncoder) -> Outcome {
        let index = self.queue.submit([encoder.finish()]);
        Ok(self.submitted.send((frame, index))?)
    }

    /// The frames that were done since the last call, and when.
    pub fn done(&self) -> Outcome<Vec<(usize, Instant)>> {
        let mut frames = Vec::new();
        loop {
            match self.done.try_recv() {
                Ok(frame) => frames.push(frame),
                Err(TryRecvError::Empty) => return Ok(frames),
                Err(TryRecvError::Disconnected) => return Err("the device does not finish its frames".into()),
            }
        }
    }

    /// Waits for everything, and gives the last frame as a picture.
    pub fn picture(&self) -> Outcome<image::RgbaImage> {
        // Rows of a copy are multiples of 256 bytes, as those of 640 pixels are.
        let size = u64::from(FRAME[0] * FRAME[1] * 4);
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let descriptor = wgpu::BufferDescriptor { label: Some("picture"), size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(FRAME[0] * 4), rows_per_image: None };
        encoder.copy_texture_to_buffer(
            self.target.as_image_copy(),
            wgpu::TexelCopyBufferInfo { buffer: &buffer, layout },
            self.target.size(),
        );
        self.queue.submit([encoder.finish()]);
        let (sender, mapped) = channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        mapped.recv()??;
        let pixels = buffer.get_mapped_range(..)?.to_vec();
        image::RgbaImage::from_raw(FRAME[0], FRAME[1], pixels).ok_or_else(|| "a picture of another size".into())
    }
}
