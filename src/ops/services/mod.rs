//! The registry of services: listing, adding, editing, running.

mod add;
mod edit;
mod fault;
mod heal;
mod list;
mod run;
mod targets;
mod verbs;

pub(super) use heal::is_taken;
