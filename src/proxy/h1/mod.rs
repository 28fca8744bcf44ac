//! The engine for clients of HTTP/1: heads and bodies pass as bytes.
//!
//! One task serves a client's connection and holds both sockets while a request is under way. A head
//! is judged once (`wire`), rewritten into one buffer and sent with the first bytes of its body; bodies
//! are followed, not parsed into pieces. Buffers are held only while bytes are in them. Where the
//! target speaks HTTP/2 the request goes there by hyper (`over_h2`), and the client's side stays here.
//!
//! Ground rules:
//! - Both directions of a body are polled in every turn: a target may answer before the request is
//!   whole.
//! - Nothing is read of a next request while one is under way, but to learn whether more is here.
//! - A target's connection is given back as soon as the last byte has come over it, and only if
//!   nothing came that nobody asked for.

mod buffer;
mod conn;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod over_h2;
mod own;
mod passage;
mod request;
mod response;
mod shape;
#[cfg(target_os = "linux")]
mod splice;
mod take;
mod upload;
mod watch;

pub(super) use conn::{Conn, Spoken};
pub(super) use own::{Asked, write as write_own};
pub(super) use take::serve;
