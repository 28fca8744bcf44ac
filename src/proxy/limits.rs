//! Bounds the data plane holds every connection to.

use std::time::Duration;

use super::wire::WireLimits;

/// Most bytes of one read of a body, in bytes. hyper doubles the buffer that it reads into each time it is
/// filled, to 400 KiB for each connection; one that lacks a byte of being full stays at 64 KiB, which
/// costs no throughput.
pub(super) const MOST_READ: u64 = 64 * 1_024 - 1;

/// Instances of an application that are tried before a request is given up.
pub(super) const MAX_INSTANCES: usize = 3;
/// Attempts to have a connection that takes a request at all.
pub(super) const MAX_UNSENT: u32 = 3;

/// Timeouts and sizes of one data plane; the same for all its services.
///
/// Timeouts are coarse: they are looked at every 250 ms, so each may last that much longer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the connection, or the first byte of a further request, to the end of its head.
    pub header_timeout: Duration,
    /// Name lookup, TCP and TLS to the target together.
    pub connect_timeout: Duration,
    /// From the last byte sent to the target to the head of its answer. An upload that makes
    /// progress, or that waits for its client, is not counted.
    pub first_byte_timeout: Duration,
    /// An idle client connection is closed after it.
    pub idle_timeout: Duration,
    /// How long a client may neither send an awaited part of its body nor take a part of the
    /// answer. A target that is silent in the middle of an answer (an event stream) is not bounded.
    pub body_idle_timeout: Duration,
    /// How long a client that half-closed its connection is still answered without a byte moving,
    /// and how long a client may stay silent in a tunnel whose target has ended.
    pub half_close_timeout: Duration,
    /// How long a connection is read from after its last answer, so that an unread request body
    /// does not make the operating system throw the answer away; over HTTP/2, how long its client may
    /// be silent then.
    pub linger_timeout: Duration,
    /// An idle connection to a target is closed after it.
    pub pool_idle_timeout: Duration,
    /// Idle HTTP/1.1 connections kept for each target and worker.
    pub pool_max_idle: usize,
    /// Client connections of one service; further ones are answered 503.
    pub max_connections_per_service: usize,
    /// Client connections of all services together; further ones are answered 503. What keeps
    /// descriptors free for the rest of the process.
    pub max_connections: usize,
    /// Pipes a worker may have for long bodies, two descriptors each; bodies beyond them are
    /// copied.
    pub max_pipes: usize,
    /// Streams one HTTP/2 client connection may have open.
    pub max_streams: u32,
    /// Largest request head, target and fields.
    pub wire: WireLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(60),
            half_close_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(2),
            pool_idle_timeout: Duration::from_secs(60),
            pool_max_idle: 256,
            max_connections_per_service: 10_000,
            max_connections: usize::MAX,
            max_pipes: 16,
            max_streams: 256,
            wire: WireLimits::default(),
        }
    }
}
