//! `serve --demo`: a server that needs nothing else on the machine.
//!
//! A database in a temporary directory, two upstreams of its own, two services on loopback. What is
//! set up here goes with the server.

mod directory;
mod plan;
mod upstream;

pub use directory::PrivateDirectory;
pub use plan::DemoPlan;
pub(super) use plan::set_up;
pub use upstream::spawn as demo_upstream;
