//! The rules of freeing ports, on a machine made up for each.

mod direct;
mod kit;
mod live;
mod outcome;
