//! pmctl hosts HTTP service proxies from one binary and leaves nothing behind when it stops.
//!
//! The rooms and who may name whom are described in `ARCHITECTURE.md`; a test holds the walls.

pub mod api;
pub mod cli;
pub mod config;
pub mod eureka;
pub mod host;
pub mod lifecycle;
pub mod model;
pub mod ops;
pub mod proxy;
pub mod rpc;
pub mod selftest;
pub mod serve;
pub mod store;
pub mod text;
pub mod trust;
