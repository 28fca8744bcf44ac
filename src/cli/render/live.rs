//! Bars on the terminal, and lines written between them without tearing.

use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The place bars are drawn at: the terminal on standard error, or nowhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live {
    bars: MultiProgress,
}

impl Live {
    /// Draws if `is_on`.
    pub(super) fn new(is_on: bool) -> Self {
        let target = match is_on {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        Self { bars: MultiProgress::with_draw_target(target) }
    }

    /// A writer to standard error that moves the bars out of the way: for the log. Make one for
    /// each line, or keep it; it has no state.
    pub fn writer(&self) -> LiveWriter {
        LiveWriter { live: self.clone() }
    }

    /// Runs `write` with no bar on the terminal.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }

    /// A line that changes in place.
    pub(super) fn line(&self) -> ProgressBar {
        let line = self.bars.add(ProgressBar::new_spinner());
        // As below.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            line.set_style(style);
        }
        line
    }

    pub(super) fn bar(&self, len: u64, message: String) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(len));
        // The template is written here, so a failure to read it can only be a mistake here, and a
        // plain bar is then good enough.
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(message);
        bar
    }
}

/// Writes to standard error between the bars of a [`Live`].
#[derive(Clone, Debug)]
pub struct LiveWriter {
    live: Live,
}

impl Write for LiveWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.live.suspend(|| io::stderr().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.live.suspend(|| io::stderr().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
