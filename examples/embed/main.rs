//! An application that draws a frame every 16.7 ms and, beside that, trains an autoencoder on its own device, without a
//! window so that it runs anywhere: `cargo run --release --example embed`. It measures what training costs its frames.
//!
//! What an application does with strait is in [`run`], [`Application::frame`] and [`Application::beside_a_thread`];
//! host.rs is the application without it.

#[path = "../common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
mod frames;
mod host;
#[path = "../common/outcome.rs"]
mod outcome;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::{count, file, within};
use clap::Parser;
use frames::{Calls, Frames};
use host::{Host, SHOWN, SIDE};
use outcome::Outcome;
use strait::gpu::Buffer;
use strait::inference::Attached;
use strait::model::Purpose;
use strait::{Activation, Data, Gpu, Loss, Session, Spec, Taken, Training, data};

/// Draws a frame every 16.7 ms and trains 784-300-150 beside that: how late are its frames?
#[derive(Parser)]
struct Options {
    /// Milliseconds of each frame that training may keep the device busy for
    #[arg(long, default_value_t = 4.0, value_parser = |text: &str| within(text, 0.001..=1000.0))]
    budget: f64,
    /// Images in a batch
    #[arg(long, default_value_t = 16, value_parser = |text: &str| within(text, 1..=1797usize))]
    batch: usize,
    /// Seconds of frames without training, with it, and with it on another thread
    #[arg(long, default_value_t = 4.0, value_parser = |text: &str| within(text, 0.1..=1e6))]
    seconds: f64,
    /// How often these take turns
    #[arg(long, default_value_t = 3, value_parser = count::<usize>)]
    rounds: usize,
    /// Seeds weights and order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the picture of the last frame
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Prints the figures as JSON in the last line: late_* are shares of all frames
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

/// What the application keeps for strait beside its own things.
struct Application {
    host: Host,
    /// Its images, on the host, and which of them the next frames show.
    images: Data,
    frame: usize,
    /// The reconstruction of what lies in the application's own buffer, into another of its buffers.
    attached: Attached,
    budget: Duration,
    /// How long its calls of strait took, and as many empty submits.
    calls: Calls,
}

/// How training goes on while frames are drawn.
enum Beside<'a> {
    /// Not at all.
    Nothing,
    /// Within each frame.
    Frames(&'a mut Session),
    /// On another thread, which is at work.
    Thread,
}

fn run(options: Options) -> Outcome {
    let path = file(&options.out, "embed.png")?;

    // The application's device, shared with strait: cloning wgpu's handles is all there is to it.
    let host = Host::new()?;
    let gpu = Gpu::adopt(host.device.clone(), host.queue.clone());

    // A model, and a training that does not end before the application does.
    let spec = Spec::symmetric(&[SIDE * SIDE, 300, 150], Activation::Elu).loss(Loss::Bernoulli);
    let training = Training { batch: options.batch, epochs: u64::MAX, seed: options.seed, ..Training::default() };
    let mut session = Session::new(&gpu, &spec, training)?;

    // Loading uploads the images and compiles what training needs. It takes a while: an application does it while it
    // loads its other things, on whichever thread it likes.
    let images = enlarged(&data::digits()?)?;
    let begun = Instant::now();
    session.load(images.clone())?;

    // Reconstructing reads and writes the application's own buffers; nothing passes through the host.
    let [from, to] = [&host.images, &host.reconstructions].map(|buffer| Buffer::adopt(buffer.clone()));
    let attached = session.attach(Purpose::Reconstruct, from, to, SHOWN)?;
    let loaded = begun.elapsed();

    let budget = Duration::from_secs_f64(options.budget / 1e3);
    let mut app = Application { host, images, frame: 0, attached, budget, calls: Calls::default() };
    let time = Duration::from_secs_f64(options.seconds);
    let [mut without, mut with, mut thread] = [(); 3].map(|()| Frames::default());
    // What is drawn first compiles, too.
    app.frames(&mut Frames::default(), Duration::from_millis(500), &mut Beside::Frames(&mut session))?;
    app.calls = Calls::default();
    let before = session.steps();
    for _ in 0..options.rounds {
        app.frames(&mut without, time, &mut Beside::Nothing)?;
        app.frames(&mut with, time, &mut Beside::Frames(&mut session))?;
        app.beside_a_thread(&mut thread, time, &mut session)?;
    }
    std::fs::create_dir_all(&options.out)?;
    app.host.picture()?.save(&path)?;
    report(&options, &app, [&without, &with, &thread], loaded, session.steps() - before);
    println!("wrote       {}", path.display());
    if options.json {
        let [late_without, late_with, late_fit_thread] = [&without, &with, &thread].map(Frames::late);
        let figures = serde_json::json!({
            "adapter": gpu.adapter().name,
            "late_without": late_without,
            "late_with": late_with,
            "late_fit_thread": late_fit_thread,
            "p99_ms": with.quantile(0.99),
            "longest_call_ms": app.calls.ours.quantile(1.0),
            "p999_call_ms": app.calls.ours.quantile(0.999),
            "p999_empty_submit_ms": app.calls.empty.quantile(0.999),
            "steps": session.steps() - before,
            "load_seconds": loaded.as_secs_f64(),
        });
        println!("{figures}");
    }
    Ok(())
}

impl Application {
    /// Draws frames for a while, one every 16.7 ms.
    fn frames(&mut self, frames: &mut Frames, time: Duration, beside: &mut Beside<'_>) -> Outcome {
        let end = Instant::now() + time;
        let mut next = Instant::now();
        while next < end {
            // As on a display, each frame has its time. Where the one before took longer, this one begins at once, and those whose
            // time has passed by then were missed.
            while Instant::now() < next {
                self.host.done()?.into_iter().for_each(|(frame, when)| frames.done(frame, when));
                std::thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_micros(300)));
            }
            frames.due(self.frame, next);
            self.frame(beside)?;
            next = frames.missed(next + frames::PERIOD);
        }
        while frames.is_waiting() {
            self.host.done()?.into_iter().for_each(|(frame, when)| frames.done(frame, when));
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }

    /// One frame of the application.
    fn frame(&mut self, beside: &mut Beside<'_>) -> Outcome {
        // Twice a second other images are shown.
        let first = self.frame / 30 * SHOWN % (self.images.rows() - SHOWN);
        let shown = &self.images.values()[first * SIDE * SIDE..][..SHOWN * SIDE * SIDE];
        self.host.queue.write_buffer(&self.host.images, 0, bytemuck::cast_slice(shown));

        // Strait's work is recorded among the application's own: images, their reconstructions, what shows both.
        let mut encoder = self.host.device.create_command_encoder(&Default::default());
        self.calls.ours.time(|| self.attached.record(&mut encoder, SHOWN))?;
        self.host.draw(&mut encoder);
        self.host.submit(self.frame, encoder)?;
        self.frame += 1;

        // Training comes after what is to be seen: what has finished is read, and a few steps more are submitted.
        if let Beside::Frames(session) = beside {
            while self.calls.ours.time(|| session.progress())?.is_some() {}
            match self.calls.ours.time(|| session.step_for(self.budget))? {
                // Some steps, or a part of one that takes longer; where the device is busy, perhaps in the next frame.
                Taken::Steps(_) | Taken::Part | Taken::Busy => {}
                Taken::Over => log::info!("trained"),
                other => return Err(format!("{other:?}").into()),
            }
        }
        if let Beside::Nothing = beside {
            // To compare with, what a call costs that does nothing.
            self.calls.empty.time(|| self.host.queue.submit([]));
        }
        Ok(())
    }

    /// The same frames while another thread trains in one go: on a device that is shared, each of its submits keeps the
    /// queue busy for about 4 ms, part of a step where one takes longer, and the next one is made when it is done.
    fn beside_a_thread(&mut self, frames: &mut Frames, time: Duration, session: &mut Session) -> Outcome {
        let (cancel, images) = (session.cancel_handle(), self.images.clone());
        std::thread::scope(|scope| {
            let training = scope.spawn(move || session.fit(images));
            // From its first frame on it is at work.
            let drawn = self.frames(frames, time, &mut Beside::Thread);
            cancel.cancel();
            training.join().map_err(|_| "the thread that trains panicked")??;
            drawn
        })
    }
}

/// The digits with as many pixels as MNIST's, between those that there are.
fn enlarged(digits: &Data) -> Outcome<Data> {
    const SMALL: usize = 8;
    let at = |i: usize| {
        let place = (i as f32 + 0.5) * SMALL as f32 / SIDE as f32 - 0.5;
        let low = place.clamp(0.0, SMALL as f32 - 1.0);
        (low as usize, (low as usize + 1).min(SMALL - 1), low.fract())
    };
    let mut values = Vec::with_capacity(digits.rows() * SIDE * SIDE);
    for digit in digits.values().chunks(SMALL * SMALL) {
        for y in 0..SIDE {
            let (top, bottom, down) = at(y);
            for x in 0..SIDE {
                let (left, right, along) = at(x);
                let line = |y: usize| digit[y * SMALL + left] * (1.0 - along) + digit[y * SMALL + right] * along;
                values.push(line(top) * (1.0 - down) + line(bottom) * down);
            }
        }
    }
    Ok(Data::from_rows(SIDE * SIDE, values)?)
}

fn report(options: &Options, app: &Application, [without, with, thread]: [&Frames; 3], loaded: Duration, steps: u64) {
    println!("loaded      in {:.2} s; {steps} steps while {} frames were drawn", loaded.as_secs_f64(), app.frame);
    println!("frames, every {:.1} ms    median      99 %   late", frames::PERIOD.as_secs_f64() * 1e3);
    let budget = format!("training {} ms a frame", options.budget);
    for (name, frames) in [("without training", without), (&*budget, with), ("training on a thread", thread)] {
        let [median, most] = [0.5, 0.99].map(|share| frames.quantile(share));
        println!("{name:<24} {median:5.2} ms  {most:5.2} ms  {:.2} % of {}", frames.late() * 100.0, frames.count());
    }
    for (name, calls) in [("calls of strait", &app.calls.ours), ("empty submits", &app.calls.empty)] {
        let [median, most, longest] = [0.5, 0.999, 1.0].map(|share| calls.quantile(share));
        println!("{name:<24} median {median:.3} ms, 99.9 % {most:.2} ms, longest {longest:.2} ms");
    }
}
