//! The server assembled.

mod control;

pub use control::{ControlBindError, ControlListener, RemainingCalls};
