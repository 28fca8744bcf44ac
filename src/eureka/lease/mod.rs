//! A lease from its holder's side: what is announced, when it is renewed, what an answer means.
//!
//! Belongs here: the instance a service is announced as, the schedule of its renewals, the states of
//! a lease, the calls a registry must offer, and those calls over HTTP (`http`). Does not belong
//! here: tasks, clocks, rows.
//!
//! Ground rules: everything but `ask`, `http`, `reading`, `server` and `trust` is a function of what
//! comes in; the moment comes in. Renewals run by the monotonic clock, so that setting the wall clock
//! neither stops nor hurries them.

mod announcement;
mod ask;
mod calls;
mod http;
mod machine;
mod reading;
mod removal;
mod schedule;
mod server;
mod trust;

pub use announcement::{Announcement, NodeMark, app_name};
pub use calls::{Answered, CallError, Extent, Registries, RegistryCalls};
pub use http::{CALL, HttpRegistries};
pub use machine::{Answer, Lease, Step, Verdict};
pub use removal::{Consent, Removal, find, take_out};
pub use schedule::Schedule;
pub use trust::ClientError;
