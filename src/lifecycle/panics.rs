//! A panic as a line of the log.

use std::panic::{self, PanicHookInfo};
use std::thread;

/// Lets every panic from now on be logged, with its thread and place, instead of being written to
/// standard error past the log.
pub fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let name = thread.name().unwrap_or("?");
        tracing::error!(thread = name, "panicked at {place}: {}", words(info));
    }));
}

fn words<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("no words")
}
