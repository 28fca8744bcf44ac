//! The form of HTTP/1 on the wire: which bytes may be passed on, and where a message ends.
//!
//! Strict where a proxy must be (RFC 9112): no `Content-Length` beside a `Transfer-Encoding`, no bare
//! line feed, no folding, no two readings of a length. What is doubtful is refused, because the target
//! might read it in another way. The verdict on a stream never depends on how the network cut it into
//! pieces.

mod chunks;
mod head;

pub(super) use chunks::{Chunks, Progress};
pub use head::WireLimits;
pub(super) use head::{Body, Head, HeadScan, trim};
