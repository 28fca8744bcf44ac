//! This machine: its clock, its processes, its listening sockets.
//!
//! Belongs here: what the operating system knows, asked through one interface with one file (Linux:
//! one folder) for each system behind it. Does not belong here: what follows from it (who may be
//! killed, what a state is called), any sentence a person reads, masking.
//!
//! Ground rules: this room names `model` and nobody else. Nothing here is asynchronous: what takes
//! longer than a few system calls says so, and is called on a blocking thread. What cannot be known
//! is said to be unknown.

mod bind;
pub mod clock;
mod detach;
mod details;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod error;
mod figures;
mod forwarder;
mod grace;
mod heap;
mod holders;
mod identity;
mod limit;
mod manager;
mod peer;
mod pinned;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod platform;
#[cfg(not(any(target_os = "linux", windows)))]
#[path = "macos/mod.rs"]
mod platform;
#[cfg(unix)]
mod unpinned;
mod user;

pub use bind::{BindFailure, try_bind};
pub use detach::{detach, start_apart};
pub use details::{connections, details, is_untouchable, may_end_any, own_line, own_uid};
pub use error::HostError;
pub use figures::{ProcessFigures, own_figures};
pub use grace::{StopGrace, Stopper, stop_grace};
pub use heap::{give_back_unused_memory, keep_large_pieces_apart, share_heaps};
pub use holders::{Holder, Holding, holders};
pub use identity::{Liveness, identity_of, is_alive, liveness, own_identity, seen_here};
pub use limit::{DescriptorLimit, raise_descriptor_limit};
pub use manager::{MANAGER_VARIABLES, ManagerState, ServiceManager};
pub use peer::{
    PeerSocket, in_user_namespace, is_in_group, is_own_socket, overflow_uid, peer_socket,
};
pub use pinned::{PinError, Pinned, pin};
pub use user::{current_user_name, hostname};
