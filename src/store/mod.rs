//! What is registered, what runs, what happened: the database and the locks beside it.
//!
//! Belongs here: SQL (no other room knows any), migrations, the owner's and the writer's lock, where
//! a database lies, and the rows of it as values. Does not belong here: who may change what, whether
//! a process is alive (callers say), any sentence a person reads.
//!
//! Ground rules: this room names `model` and `text` and nobody else. A read creates no file. Only the
//! holder of the owner's lock migrates. Everything that changes a service together with the events
//! that tell of it is one transaction. The moment comes in as an argument.

mod database;
mod error;
mod events;
mod file_system;
mod holder;
mod location;
mod lock_file;
mod nodes;
mod owner;
mod place;
mod reason;
mod registration;
mod registrations;
mod rows;
mod schema;
mod services;
mod states;
#[cfg(test)]
mod tests;
mod token_file;
mod trouble;
mod writer;

pub use database::{Identification, Store};
pub use error::StoreError;
pub use holder::{HolderKind, LockHolder};
pub use location::Location;
pub use owner::{Acquired, Owner, OwnerLock, owner};
pub use registrations::{RegistrationRow, RegistrationVersion};
pub use rows::{NewEvent, Node, NodeId, NodeRow, ServiceChange, ServiceRow};
pub use token_file::{
    LEAST_TOKEN, OwnFile, TokenFileError, chosen_token, control_certificate,
    control_certificate_path, control_token_path, hex, read_token,
};
pub use trouble::WriteTrouble;
pub use writer::WriterLock;
