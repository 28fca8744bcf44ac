//! What `build.rs` makes of `proto/pmctl/v1/control.proto`.

#![allow(
    missing_docs,
    clippy::all,
    clippy::disallowed_methods,
    reason = "generated code; the proto file documents it"
)]

tonic::include_proto!("pmctl.v1");

/// The compiled proto, for server reflection.
pub(super) const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("pmctl.v1");
