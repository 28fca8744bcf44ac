//! The person's face.

pub mod args;
mod help;
