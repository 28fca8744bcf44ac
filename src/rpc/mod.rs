//! The gRPC face of the control plane, and its client.
//!
//! Belongs here: the code generated from `proto/`, conversions between proto and model, faults as
//! gRPC statuses, the server's methods, the client with its classified failures. Does not belong
//! here: what a verb does (`ops`), listening (`serve`), choosing between server and database
//! (`cli`).
//!
//! Ground rules: a method of the server is three lines: convert, call `ops`, convert. The client
//! gives and takes values of the model, so nobody else names a generated type; and each of its
//! failures says whether somebody is there ([`ClientError`]), because whether to fall back hangs
//! on it. tonic, prost and their companions are named in this room alone.

mod beat;
mod client;
mod convert;
mod generated;
mod health;
mod router;
mod service;
mod status;
mod stream;

pub use client::{
    ActionProgress, Client, ClientError, EventStream, ServerTrust, ServiceProgress, ShutdownStream,
};
pub use router::router;
pub use status::refusal;

/// Counts the incompatible changes of `pmctl.v1.Control`.
pub const API_VERSION: u32 = 1;
