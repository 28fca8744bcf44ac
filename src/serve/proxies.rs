//! The proxies that run, by service.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::BindFailure;
use crate::lifecycle::Pulse;
use crate::model::{Fault, FaultKind, Phase, Port, Service, ServiceId, ServiceName, TargetUrl};
use crate::ops::{bind_fault, taken_port_fault};
use crate::proxy::{
    self, BindError, BoundListener, Plane, ProxyHandle, ProxyPhase, ProxySpec, Route, ViaId,
};
use crate::text;

/// A proxy and where it listens.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) name: ServiceName,
    pub(super) bind: Option<IpAddr>,
    pub(super) port: Port,
    pub(super) handle: ProxyHandle,
}

/// The table of running proxies. A service is in it from its start until its drain is over.
pub(super) struct Proxies {
    plane: Plane,
    via: ViaId,
    control: SocketAddr,
    running: Mutex<Table>,
    /// Listening sockets at most.
    max_listeners: usize,
}

#[derive(Default)]
struct Table {
    rows: HashMap<ServiceId, Running>,
    /// Whose place another proxy of the same service has taken, while their connections drain.
    leaving: Vec<Running>,
    is_closed: bool,
}

impl Proxies {
    /// `control` is where this server takes orders; no target may be that.
    pub(super) fn new(plane: Plane, control: SocketAddr, max_listeners: usize) -> Self {
        let (via, running) = (ViaId::random(), Mutex::default());
        Self { plane, via, control, running, max_listeners }
    }

    /// Where this server takes orders.
    pub(super) fn control(&self) -> SocketAddr {
        self.control
    }

    /// Whether one of these proxies sent a request with these fields.
    pub(super) fn sent(&self, headers: &http::HeaderMap) -> bool {
        self.via.is_of_any_service_in(headers)
    }

    /// Never lets go of the table.
    #[cfg(feature = "debug-hooks")]
    pub(super) fn hold_for_ever(&self) {
        std::mem::forget(self.table());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: ServiceId) -> Option<Running> {
        self.table().rows.get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<(ServiceId, Running)> {
        self.table().rows.iter().map(|(id, running)| (*id, running.clone())).collect()
    }

    /// Every proxy that still has a listener or connections, those that drain after a move included:
    /// what has to end before the server does.
    pub(super) fn alive(&self) -> Vec<Running> {
        let table = self.table();
        let leaving = table.leaving.iter().filter(|old| old.handle.phase() != ProxyPhase::Stopped);
        table.rows.values().chain(leaving).cloned().collect()
    }

    pub(super) fn forget(&self, id: ServiceId) {
        self.table().rows.remove(&id);
    }

    /// Forgets a proxy that ended by itself, and not the one that has taken its place.
    pub(super) fn forget_gone(&self, id: ServiceId) {
        let mut table = self.table();
        let is_gone = |running: &Running| running.handle.phase() == ProxyPhase::Stopped;
        if table.rows.get(&id).is_some_and(is_gone) {
            table.rows.remove(&id);
        }
    }

    /// The active target of `service`, made ready to forward to. Reads its CA file.
    pub(super) fn route(&self, service: &Service) -> Result<Route, Fault> {
        let name = &service.active_target;
        let unusable = |reason: String| {
            let message = text::ops::target_unusable(name, reason);
            Fault::new(FaultKind::Precondition, message)
        };
        let target = service.active().ok_or_else(|| unusable("it does not exist".to_owned()))?;
        if is_at(&target.url, self.control) {
            return Err(Fault::usage(text::ops::target_not_control(name, self.control)));
        }
        if is_own(&target.url, service.bind, service.port) {
            return Err(Fault::usage(text::ops::target_not_itself(name, &service.name)));
        }
        Route::new(name, target, &self.via.of_service(service.id)).map_err(|error| {
            let reason = error.message(name);
            Fault::caused(FaultKind::Precondition, reason, &error)
        })
    }

    /// Binds and runs a proxy for `service`, in the place of the one it had, which stays among
    /// those alive until its drain is over.
    pub(super) async fn start(&self, service: &Service) -> Result<(), Fault> {
        let route = self.route(service)?;
        let taken: usize = self.alive().iter().map(|running| sockets(running.bind)).sum();
        if taken.saturating_add(sockets(service.bind)) > self.max_listeners {
            let message = text::ops::too_many_descriptors(service.port);
            return Err(Fault::new(FaultKind::Precondition, message));
        }
        let listener = bind(service.bind, service.port).await?;
        self.spawn(service, route, listener)
    }

    /// From now on nothing is started: the drain that follows sees every proxy there is.
    pub(super) fn close(&self) {
        self.table().is_closed = true;
    }

    fn spawn(&self, service: &Service, route: Route, listener: BoundListener) -> Result<(), Fault> {
        let mut table = self.table();
        if table.is_closed {
            let message = text::ops::server_not_ready(Phase::Draining);
            return Err(Fault::new(FaultKind::Unavailable, message));
        }
        let (id, name) = (service.id, service.name.clone());
        let spec = ProxySpec { id, name: name.clone(), route };
        let handle = self.plane.spawn(spec, listener);
        let running = Running { name, bind: service.bind, port: service.port, handle };
        let replaced = table.rows.insert(id, running);
        table.leaving.extend(replaced);
        table.leaving.retain(|old| old.handle.phase() != ProxyPhase::Stopped);
        Ok(())
    }

    /// The data plane's threads, each to be asked whether it moves.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        self.plane.pulses()
    }

    /// Ends the data plane's threads once its proxies are gone.
    pub(super) fn stop_plane(&self) {
        self.plane.stop();
    }
}

/// Listening sockets of a proxy at most: one for each address family.
fn sockets(bind: Option<IpAddr>) -> usize {
    match bind {
        None => 2,
        Some(_) => 1,
    }
}

/// Whether `url` says the listener of a service: every request would come back until it is refused.
pub(super) fn is_own(url: &TargetUrl, bind: Option<IpAddr>, port: Port) -> bool {
    let own = bind.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    is_at(url, SocketAddr::new(own, port.get()))
}

/// Whether `url` says `control`, by address or as `localhost`. Where another name leads is seen
/// when it is connected to.
pub(super) fn is_at(url: &TargetUrl, control: SocketAddr) -> bool {
    if url.application().is_some() {
        return false;
    }
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    let is_here = match host.parse::<IpAddr>() {
        Ok(ip) => {
            ip.is_unspecified()
                || ip.to_canonical() == control.ip().to_canonical()
                || (control.ip().is_unspecified() && ip.to_canonical().is_loopback())
        }
        Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    };
    is_here && url.port() == control.port()
}

async fn bind(address: Option<IpAddr>, port: Port) -> Result<BoundListener, Fault> {
    match proxy::bind(address, port) {
        Ok(listener) => Ok(listener),
        Err(BindError::InUse { .. }) => Err(taken_port_fault(port).await),
        Err(BindError::Privileged { .. }) => {
            Err(bind_fault(address, port, BindFailure::Privileged))
        }
        Err(BindError::AddressNotHere { .. }) => {
            Err(bind_fault(address, port, BindFailure::AddressNotHere))
        }
        Err(BindError::Descriptors { .. }) => {
            Err(Fault::new(FaultKind::Precondition, text::ops::too_many_descriptors(port)))
        }
        Err(BindError::Other { source, .. }) => {
            Err(bind_fault(address, port, BindFailure::Other(source)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_address_is_known_by_each_of_its_names() {
        let control = "127.0.0.1:3000".parse().unwrap();
        let is_control = |url: &str| is_at(&url.parse().unwrap(), control);
        for url in [
            "http://127.0.0.1:3000/api",
            "https://localhost:3000",
            "http://LOCALHOST.:3000",
            "http://0.0.0.0:3000",
            "h2c://[::ffff:127.0.0.1]:3000",
        ] {
            assert!(is_control(url), "{url}");
        }
        let everywhere = "0.0.0.0:3000".parse().unwrap();
        assert!(is_at(&"https://127.0.0.2:3000".parse().unwrap(), everywhere));
        assert!(!is_at(&"https://192.0.2.1:3000".parse().unwrap(), everywhere));
        for url in ["http://127.0.0.1:3001", "http://127.0.0.2:3000", "http://localhost"] {
            assert!(!is_control(url), "{url}");
        }
    }
}
