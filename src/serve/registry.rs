//! The embedded service registry, listening: `pmctl eureka serve`.

use std::net::SocketAddr;
use std::time::Duration;

use super::control::{ControlBindError, ControlListener};
use crate::eureka::{self, Node, RegistrySettings, Users};
use crate::host::clock;
use crate::lifecycle::{Stop, StopWatch, Tasks};
use crate::model::{Fault, FaultKind};
use crate::text::{self, Lang};

/// How long calls under way may take after a stop; they are short.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// A registry whose address is bound. Dropping it frees the address.
pub struct RegistryServer {
    listener: ControlListener,
    users: Option<Users>,
    node: Node,
}

impl RegistryServer {
    /// Listens on `address`; port 0 is any free one. Beyond loopback `users` must be given.
    ///
    /// # Errors
    /// The fault of an address that cannot be listened on.
    pub async fn bind(
        address: SocketAddr,
        settings: &RegistrySettings,
        users: Option<Users>,
        lang: Lang,
    ) -> Result<Self, Fault> {
        let listener = ControlListener::bind(address).await.map_err(|error| {
            let (kind, message) = match &error {
                ControlBindError::Taken { address, .. } => (
                    FaultKind::Precondition,
                    text::eureka::registry_address_taken(address, address.port()),
                ),
                ControlBindError::Denied { address, .. } => {
                    (FaultKind::Denied, text::eureka::registry_address_denied(address))
                }
                ControlBindError::NotHere { address, .. } => {
                    (FaultKind::Precondition, text::eureka::registry_address_not_here(address))
                }
                ControlBindError::Other { address, .. } => {
                    (FaultKind::Internal, text::eureka::registry_address_failed(address))
                }
            };
            Fault::caused(kind, message, &error)
        })?;
        Ok(Self { listener, users, node: Node::new(settings, clock::now, lang) })
    }

    /// Its base URL, for clients.
    pub fn url(&self) -> String {
        format!("{}/eureka", self.listener.url())
    }

    /// Serves until the shutdown waits for its tasks: by then whoever is announced here has left.
    pub fn serve_until_end(self, tasks: &Tasks) {
        let own = tasks.clone();
        tasks.spawn_until_end("own-registry", async move {
            // Nobody asks this one for its end.
            let never = Stop::new();
            self.run(&own, never.watch()).await;
        });
    }

    /// Serves until a stop is asked for. What was listed is forgotten: clients register again with the
    /// next one. Whether a second signal cut calls short.
    pub async fn run(self, tasks: &Tasks, mut stop: StopWatch) -> bool {
        let Self { listener, users, node } = self;
        tasks.spawn_until_end("registry-evictor", node.clone().evict_on_time());
        let router = eureka::router(node, listener.address(), users);
        let mut heard = stop.clone();
        let remaining = listener.run(router, async move { heard.stopping().await }).await;
        let is_forced = tokio::select! {
            () = remaining.finished() => false,
            () = tokio::time::sleep(LAST_CALLS) => false,
            () = stop.forced() => true,
        };
        remaining.end().await;
        is_forced
    }
}
