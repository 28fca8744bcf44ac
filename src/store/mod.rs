//! What is registered, what runs, what happened: the database and the locks beside it.
//!
//! Belongs here: SQL (no other room knows any), migrations, the owner's and the writer's lock, where
//! a database lies, and the rows of it as values. Does not belong here: who may change what, whether
//! a process is alive (callers say), any sentence a person reads.
//!
//! Ground rules: this room names `model` and `text` and nobody else. A read creates no file. Only the
//! holder of the owner's lock migrates. Everything that changes a service together with the events
//! that tell of it is one transaction. The moment comes in as an argument.

mod error;
mod location;
mod lock;
mod rows;
mod skeleton;

pub use error::StoreError;
pub use location::Location;
pub use lock::{Acquired, HolderKind, LockHolder, Owner, OwnerLock, WriterLock, owner};
pub use rows::{NewEvent, Node, NodeId, NodeRow, ServiceChange, ServiceRow};
pub use skeleton::{Identification, Store};
