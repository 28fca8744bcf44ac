//! The JSON face of the control plane.
//!
//! Belongs here: routes, bodies and queries as requests of the model, faults as HTTP answers, the
//! Prometheus text, and the guard that stands before this face and the gRPC one: where a request is
//! addressed to (`guard`) and who made it (`access`). Does not belong
//! here: what a verb does (`ops`), listening (`serve`).
//!
//! Ground rules: a handler is three lines: convert, call `ops`, answer. A document is the serde form
//! of a report of the model; every answer is JSON with `success`, also the ones for unknown paths,
//! except the metrics. What a caller sends is refused whole or taken whole: a field nobody knows is
//! named, not ignored.

mod access;
mod answer;
mod body;
mod freeing;
mod guard;
mod heartbeat;
mod metrics;
mod probe;
mod router;

pub use access::{Guard, Token, guarded};
pub use guard::Own;
pub use router::router;
