//! Misbehaviour of the control plane on demand, for the tests of what is done about it. Only with the
//! feature `debug-hooks`, which no build for users has.

use super::server::Server;
use crate::lifecycle::Importance;

/// More than the control plane has threads.
const MANY: usize = 16;

/// Does it, and comes back before it shows.
pub(super) fn misbehave(server: &Server, how: &str) {
    match how {
        // Every thread of the runtime stands still for ever.
        "block-runtime" => {
            for _ in 0..MANY {
                server.tasks.spawn("debug", Importance::Helper, async {
                    loop {
                        std::thread::park();
                    }
                });
            }
        }
        // The same, and what the last resort needs is never let go of.
        "deadlock" => {
            server.proxies.hold_for_ever();
            misbehave(server, "block-runtime");
        }
        "panic-vital" => {
            let work = async { panic!("a vital task panics, as it was asked to") };
            server.tasks.spawn("debug", Importance::Vital, work);
        }
        _ => tracing::warn!(how, "no such misbehaviour"),
    }
}
