//! The person's face.

pub mod args;
pub mod exit;
pub mod help;
pub mod render;
