//! What every announcement has in common, and the address it names.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{UdpSocket, lookup_host};

use crate::config::EurekaSettings;
use crate::eureka::{
    Announcement, CallError, Consent, Instance, InstanceStatus, NodeMark, RegistryCalls, Removal,
    Schedule, app_name, take_out,
};
use crate::model::{
    InstanceIdPattern, Port, Registration, RegistryUrl, ServiceId, ServiceName, Timestamp,
};
use crate::store::{NodeId, Store};
use crate::text::{self, Message};

/// For looking up the registry's name.
const LOOKUP: Duration = Duration::from_secs(5);

/// How services are announced, and what with.
pub(in crate::serve) struct Plan {
    pub(in crate::serve) registry: Arc<dyn RegistryCalls>,
    pub(in crate::serve) store: Store,
    pub(in crate::serve) node: NodeId,
    pub(in crate::serve) mark: NodeMark,
    pub(in crate::serve) settings: EurekaSettings,
    /// Bound of a stop's calls, together.
    pub(in crate::serve) timeout: Duration,
    pub(in crate::serve) start: Instant,
}

/// A service that is to be announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: ServiceId,
    pub(super) name: ServiceName,
    pub(super) port: Port,
    pub(super) bind: Option<IpAddr>,
    pub(super) health_path: Option<String>,
}

/// What consumers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertised {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

impl Plan {
    pub(super) fn schedule(&self, id: ServiceId) -> Schedule {
        // Several nodes on one registry do not renew in step.
        let key = id.0.wrapping_add(self.node.0.rotate_left(20)).cast_unsigned();
        Schedule::new(self.start, self.settings.interval, key)
    }

    pub(super) fn instance(
        &self,
        registration: &Registration,
        health_path: Option<&str>,
        status: InstanceStatus,
        dirty: i64,
    ) -> Instance {
        let (mark, metadata) = (&self.mark, &self.settings.metadata);
        let secure_port = self.settings.secure_port;
        Announcement { registration, mark, metadata, secure_port, health_path }
            .instance(status, dirty)
    }

    /// Whether the registry is the one that has these servers.
    pub(super) fn is_at(&self, servers: &[String]) -> bool {
        let ours: BTreeSet<&str> = self.settings.urls.iter().map(|url| url.as_str()).collect();
        ours == servers.iter().map(String::as_str).collect()
    }

    /// Whether none of these servers is one of the registry's: what is done at one of them is done at
    /// no other.
    pub(super) fn is_apart_from(&self, servers: &[String]) -> bool {
        let is_ours = |server: &String| self.settings.urls.iter().any(|url| url.as_str() == server);
        !servers.iter().any(is_ours)
    }

    /// Takes out of the registry, within `bound`, what may be somebody else's by now.
    pub(super) async fn take_out(
        &self,
        of: &Registration,
        bound: Duration,
    ) -> Result<Removal, CallError> {
        let is_ours = |found: &Instance| self.mark.is_on(found);
        let key = (of.app.as_str(), of.instance_id.as_str());
        take_out(self.registry.as_ref(), key, is_ours, Consent::Remove, bound).await
    }

    /// What is to be written down for a service.
    pub(super) fn registration(
        &self,
        wanted: &Wanted,
        route: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Registration, Message> {
        let told = advertised(self.settings.advertise.as_deref(), wanted.bind, route)?;
        let pattern: &InstanceIdPattern = &self.settings.instance_id;
        Ok(Registration {
            service_id: wanted.id,
            service: wanted.name.clone(),
            port: wanted.port,
            registries: self.settings.urls.iter().map(ToString::to_string).collect(),
            app: app_name(&wanted.name),
            instance_id: pattern.instance_id(&told.host, &wanted.name, wanted.port),
            host: told.host,
            address: told.address.to_string(),
            interval: self.settings.interval,
            duration: self.settings.lease_duration,
            since: now,
        })
    }

    /// The address of this machine from which the registry is reached.
    pub(super) async fn route(&self) -> Result<IpAddr, Message> {
        let mut failure = None;
        for url in &self.settings.urls {
            match tokio::time::timeout(LOOKUP, route_to(url)).await {
                Ok(Ok(address)) => return Ok(address),
                Ok(Err(error)) => failure = Some((url, error.to_string())),
                Err(_) => failure = Some((url, "timed out".to_owned())),
            }
        }
        let (url, reason) = match failure {
            Some((url, reason)) => (url.to_string(), reason),
            None => (String::new(), String::new()),
        };
        Err(text::lease::lease_address_unknown(url, reason))
    }
}

async fn route_to(url: &RegistryUrl) -> std::io::Result<IpAddr> {
    let parsed = url::Url::parse(url.as_str()).map_err(std::io::Error::other)?;
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = parsed.port_or_known_default().unwrap_or(80);
    let mut last = std::io::Error::other("it has no address");
    for to in lookup_host((host, port)).await? {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        // Connecting a datagram socket asks the routing table and sends nothing.
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(to).await.and_then(|()| socket.local_addr()) {
            Ok(from) => return Ok(from.ip().to_canonical()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What consumers are told of a service that listens on `bind`: the configured host, else the
/// address it listens on alone, else the one that routes to the registry.
pub(super) fn advertised(
    configured: Option<&str>,
    bind: Option<IpAddr>,
    route: Option<IpAddr>,
) -> Result<Advertised, Message> {
    let bound = bind.filter(|bind| !bind.is_unspecified()).map(|bind| bind.to_canonical());
    let refuse = |bind: IpAddr, told: &str| Err(text::lease::lease_bind_not_covered(bind, told));
    let route = route.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let Some(host) = configured else {
        let address = match bound {
            None => route,
            // A loopback address is of use to consumers on this machine only, and so is the registry.
            Some(bound) if bound.is_loopback() && !route.is_loopback() => {
                return refuse(bound, &route.to_string());
            }
            Some(bound) => bound,
        };
        return Ok(Advertised { host: address.to_string(), address });
    };
    let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let is_loopback = match address {
        Some(address) => address.is_loopback(),
        None => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    };
    if let Some(bound) = bound {
        // Another address of this machine leads past the listener. One that is not this machine's
        // may be translated to it on the way.
        let is_past = address.is_some_and(|told| told != bound && is_here(told));
        if bound.is_loopback() != is_loopback || is_past {
            return refuse(bound, host);
        }
    }
    let address = address.or(bound).unwrap_or(route);
    Ok(Advertised { host: host.to_owned(), address })
}

/// Whether it is an address of this machine.
fn is_here(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(configured: Option<&str>, bind: &str, route: &str) -> Result<String, &'static str> {
        let bind = (!bind.is_empty()).then(|| bind.parse().unwrap());
        let route = (!route.is_empty()).then(|| route.parse().unwrap());
        advertised(configured, bind, route)
            .map(|told| format!("{} {}", told.host, told.address))
            .map_err(|message| message.code())
    }

    #[test]
    fn consumers_are_told_an_address_that_leads_to_the_listener() {
        let fine = |told: &str| Ok(told.to_owned());
        assert_eq!(told(None, "", "192.0.2.7"), fine("192.0.2.7 192.0.2.7"));
        assert_eq!(told(None, "0.0.0.0", "192.0.2.7"), fine("192.0.2.7 192.0.2.7"));
        assert_eq!(told(None, "192.0.2.9", "192.0.2.7"), fine("192.0.2.9 192.0.2.9"));
        assert_eq!(told(None, "127.0.0.1", "127.0.0.1"), fine("127.0.0.1 127.0.0.1"));
        assert_eq!(told(Some("api.example"), "", "192.0.2.7"), fine("api.example 192.0.2.7"));
        assert_eq!(told(Some("192.0.2.1"), "", ""), fine("192.0.2.1 192.0.2.1"));
        assert_eq!(told(Some("localhost"), "127.0.0.1", ""), fine("localhost 127.0.0.1"));
        // Translated on the way, perhaps.
        assert_eq!(told(Some("203.0.113.1"), "192.0.2.9", ""), fine("203.0.113.1 203.0.113.1"));
    }

    #[test]
    fn an_address_that_the_listener_does_not_cover_is_not_announced() {
        let refused = Err("lease-bind-not-covered");
        assert_eq!(told(None, "127.0.0.1", "192.0.2.7"), refused);
        assert_eq!(told(Some("192.0.2.1"), "127.0.0.1", ""), refused);
        assert_eq!(told(Some("api.example"), "127.0.0.1", ""), refused);
        assert_eq!(told(Some("127.0.0.1"), "192.0.2.9", ""), refused);
        assert_eq!(told(Some("127.0.0.2"), "127.0.0.1", ""), refused);
    }

    #[tokio::test]
    async fn the_way_to_a_registry_on_this_machine_is_the_loopback_one() {
        let url = RegistryUrl::parse("http://127.0.0.1:8761").unwrap();
        assert!(route_to(&url).await.unwrap().is_loopback());
        let url = RegistryUrl::parse("http://[::1]:8761").unwrap();
        if let Ok(address) = route_to(&url).await {
            assert!(address.is_loopback());
        }
    }
}
