//! What the data plane refuses, on its way to the events.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

use crate::model::Actor;
use crate::ops::{Ops, Refusal};
use crate::proxy::Control;
use crate::text;

/// Tells the operations of refusals, once there are any: the data plane is started before them.
#[derive(Default)]
pub(super) struct TellRefusals(Arc<OnceLock<(Handle, Ops)>>);

impl TellRefusals {
    /// The control address as the data plane is to know it.
    pub(super) fn control(&self, address: SocketAddr) -> Control {
        let to = Arc::clone(&self.0);
        let refused = Arc::new(move |service: &_, target: &_| {
            let Some((runtime, ops)) = to.get() else { return };
            // This is a worker's thread; the row is written by the control plane.
            let _on_the_control_plane = runtime.enter();
            ops.record_refusal(Refusal {
                subject: ToString::to_string(service),
                actor: Actor::Server,
                ip: None,
                uid: None,
                about: format!("{service}={target}"),
                message: text::access::proxy_to_control(service, target),
            });
        });
        Control { address, refused }
    }

    /// From now on `ops` hears, on the runtime that this is called on.
    pub(super) fn to(&self, ops: &Ops) {
        // Set once, by whoever made it.
        let _ = self.0.set((Handle::current(), ops.clone()));
    }
}
