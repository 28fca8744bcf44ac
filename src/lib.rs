//! pmctl hosts HTTP service proxies from one binary and leaves nothing behind when it stops.
//!
//! The rooms and who may name whom are described in `ARCHITECTURE.md`; a test holds the walls.

pub mod model;
pub mod proxy;
pub mod text;
