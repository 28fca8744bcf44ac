//! Tests that drive the real program over real sockets, one module a theme.

// Signals, uids and pasted shell commands are those of a Unix system.
#![cfg(unix)]

/// What the tests share.
mod support;
/// The rooms of the source name only the rooms they may.
mod walls;
