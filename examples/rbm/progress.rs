//! A bar on stderr for all that the example trains, one after the other.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use strait::Progress as Report;

/// The bar.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar before anything.
    pub fn new() -> Progress {
        let style = ProgressStyle::with_template("{msg:40} {bar:30} {pos}/{len} steps  {eta} left");
        Progress(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Begins anew, under another name.
    pub fn begin(&self, name: String) {
        self.0.reset();
        self.0.set_message(name);
    }

    /// How far what was begun has come; training goes on.
    pub fn told(&self, report: &Report) -> ControlFlow<()> {
        self.0.set_length(report.total_steps);
        self.0.set_position(report.step);
        ControlFlow::Continue(())
    }

    /// Prints a line of the result.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| println!("{line}"));
    }

    /// Takes it off the screen.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}
