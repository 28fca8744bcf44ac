//! Tests that drive the real program over real sockets, one module a theme.

// Signals, uids and pasted shell commands are those of a Unix system.
#![cfg(unix)]

/// Wrong input and a world that does not allow it.
mod bad_input;
/// Servers that end in every way, again and again.
mod chaos;
/// What an unclean end leaves, and a port that is taken at the start.
mod cleanup;
/// Which server a command asks, and what it does without one.
mod clients;
/// Who may call the control plane, and what becomes of the others.
mod control_access;
/// The control port: documents, metrics, gRPC, and whom it turns away.
mod control_api;
/// A kill or a failure between two steps of a change.
mod crash_points;
/// A full disk and a database that cannot be written, in the middle of everything.
mod disk;
/// Traffic at a stop: nothing asked is lost, what does not end is cut and listed.
mod drain;
/// The embedded service registry, and what any registry lists.
mod eureka;
/// Real clients of other languages against the embedded registry.
mod eureka_clients;
/// The record of what happened.
mod events;
/// The process that cleans up after a server that was killed.
mod guardian;
/// The tests' own clients and upstreams, with no proxy between them.
mod harness;
/// How targets are, and the leases of their services as the faces show them.
mod health;
/// Leases in a registry: announced, renewed, gone with the server; a registry that fails.
mod heartbeats;
/// A server that stands still, and one that panics.
#[cfg(feature = "debug-hooks")]
mod hung;
/// A server that is the first process of a container.
mod init;
/// Freeing ports.
mod ports_kill;
/// A server that is hard to recognise is never ended for its port.
mod protected;
/// What passes through a proxy, and how.
mod proxying;
mod registry_residue;
/// Many services and large bodies.
mod scale;
/// Starting, stopping, and what the next start finds.
mod serve_and_stop;
/// What a service manager is told.
mod service_manager;
/// The registry of services, through a server and without one.
mod services;
/// A server that is used for long.
mod soak;
/// Targets that name an application of the registry.
mod spreading;
/// A Eureka server and a client of Spring Cloud.
mod spring;
/// What the tests share.
mod support;
/// Changing the active target under load.
mod switching;
/// The proof that nothing is left.
mod verify;
/// The rooms of the source name only the rooms they may.
mod walls;
