//! Tests that drive the real program over real sockets, one module a theme.

// Most of them are about signals, uids and pasted shell commands: those of a Unix system.

/// Wrong input and a world that does not allow it.
#[cfg(unix)]
mod bad_input;
/// Servers that end in every way, again and again.
#[cfg(unix)]
mod chaos;
/// What an unclean end leaves, and a port that is taken at the start.
#[cfg(unix)]
mod cleanup;
/// Which server a command asks, and what it does without one.
#[cfg(unix)]
mod clients;
/// Who may call the control plane, and what becomes of the others.
#[cfg(unix)]
mod control_access;
/// The control port: documents, metrics, gRPC, and whom it turns away.
#[cfg(unix)]
mod control_api;
/// A kill or a failure between two steps of a change.
#[cfg(unix)]
mod crash_points;
/// A full disk and a database that cannot be written, in the middle of everything.
#[cfg(unix)]
mod disk;
/// Traffic at a stop: nothing asked is lost, what does not end is cut and listed.
#[cfg(unix)]
mod drain;
/// The embedded service registry, and what any registry lists.
#[cfg(unix)]
mod eureka;
/// Real clients of other languages against the embedded registry.
#[cfg(unix)]
mod eureka_clients;
/// The record of what happened.
#[cfg(unix)]
mod events;
/// The process that cleans up after a server that was killed.
#[cfg(unix)]
mod guardian;
/// The tests' own clients and upstreams, with no proxy between them.
#[cfg(unix)]
mod harness;
/// How targets are, and the leases of their services as the faces show them.
#[cfg(unix)]
mod health;
/// Leases in a registry: announced, renewed, gone with the server; a registry that fails.
#[cfg(unix)]
mod heartbeats;
/// A server that stands still, and one that panics.
#[cfg(feature = "debug-hooks")]
#[cfg(unix)]
mod hung;
/// A server that is the first process of a container.
#[cfg(unix)]
mod init;
/// Freeing ports.
#[cfg(unix)]
mod ports_kill;
/// A server that is hard to recognise is never ended for its port.
#[cfg(unix)]
mod protected;
/// What passes through a proxy, and how.
#[cfg(unix)]
mod proxying;
#[cfg(unix)]
mod registry_residue;
/// Many services and large bodies.
#[cfg(unix)]
mod scale;
/// Starting, stopping, and what the next start finds.
#[cfg(unix)]
mod serve_and_stop;
/// What a service manager is told.
#[cfg(unix)]
mod service_manager;
/// The registry of services, through a server and without one.
#[cfg(unix)]
mod services;
/// A server that is used for long.
#[cfg(unix)]
mod soak;
/// Targets that name an application of the registry.
#[cfg(unix)]
mod spreading;
/// A Eureka server and a client of Spring Cloud.
#[cfg(unix)]
mod spring;
/// What the tests share.
mod support;
/// Changing the active target under load.
#[cfg(unix)]
mod switching;
/// The proof that nothing is left.
#[cfg(unix)]
mod verify;
/// The rooms of the source name only the rooms they may.
#[cfg(unix)]
mod walls;
/// What only Windows has: console events, handles, its own file locks.
#[cfg(windows)]
mod windows;
