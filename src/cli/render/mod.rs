//! What a person or a script sees. The only place of pmctl that prints.
//!
//! Belongs here: tables, screens, progress, the JSON documents of `-o json`, notes and failures on
//! standard error, and the terminal (width, colour, clearing). Does not belong here: deciding what to
//! say; the sentences come from the catalogue, the facts from the reports of the model.
//!
//! Ground rules: results go to standard output, everything else to standard error. With JSON,
//! standard output is exactly one document, or one a line where results keep coming. Colour, bars
//! and clearing are for a terminal only. Text from outside has its control characters escaped before
//! it gets there. A reader that went away ([`Output::is_open`]) is no failure and no panic.

mod action;
mod cleanup;
mod escape;
mod events;
mod heartbeat;
mod holder;
mod kill;
mod live;
mod output;
mod ports;
mod progress;
mod ready;
mod registry;
mod selftest;
mod service;
mod shutdown;
mod status;
mod style;
mod table;
mod terminal;
mod units;
mod verify;

#[cfg(test)]
mod testing;

pub use live::Live;
pub use output::Output;
pub use progress::ProgressView;
pub use shutdown::ShutdownLines;
pub use style::Style;
