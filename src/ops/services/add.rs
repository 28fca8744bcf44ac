//! Registering a service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::list::not_found;
use crate::host;
use crate::model::{
    ActionReport, Actor, Desired, EventAction, Fault, FaultKind, NewService, Port, PortChoice,
    Selection, Service, ServiceName,
};
use crate::ops::context::{Ops, done};
use crate::ops::faults::{bind_fault, store_fault};
use crate::store::{ServiceRow, StoreError};
use crate::text;

/// Ports that others were faster with, before that is the answer.
const MOST_REFUSED: usize = 100;

/// Whether somebody else has the port.
fn is_taken(fault: &Fault) -> bool {
    fault.message.code().starts_with("port-taken")
}

impl Ops {
    /// Registers a service and, inside a live server, starts it unless it is to be stopped. If it
    /// cannot be started nothing is registered.
    pub(super) async fn add(&self, new: NewService, by: &Actor) -> Result<ActionReport, Fault> {
        let store = self.store()?;
        for (name, target) in &new.targets {
            target.refuse_mistaken_trust(name)?;
        }
        let auto = new.port == PortChoice::Auto;
        let mut refused: BTreeSet<Port> = BTreeSet::new();
        loop {
            let port = match new.port {
                PortChoice::Fixed(port) => {
                    self.check_registered(&new.name, Some(port)).await?;
                    if !new.stopped {
                        check_free(new.bind, port).await?;
                    }
                    port
                }
                PortChoice::Auto => {
                    self.check_registered(&new.name, None).await?;
                    self.lowest_free_port(new.bind, &refused).await?
                }
            };
            let row = self.row(&new, port)?;
            let now = self.now();
            let target = row.active.clone();
            let detail = text::ops::event_added(port, &target);
            let event = done(now, EventAction::ServiceAdded, &new.name, by, detail);
            let service = match store.insert_service(self.node(), row, now, event).await {
                Ok(service) => service,
                // Another caller was faster with the lowest free port: take the next one.
                Err(StoreError::PortTaken { .. }) if auto => {
                    refused.insert(port);
                    continue;
                }
                Err(error) => return Err(store_fault(error)),
            };
            self.events_appended().await;
            match self.bring_up(service, by).await {
                // Likewise a stranger, between the look and the start.
                Err(fault) if auto && is_taken(&fault) && refused.len() < MOST_REFUSED => {
                    refused.insert(port);
                }
                done => return done,
            }
        }
    }

    async fn bring_up(&self, service: Service, by: &Actor) -> Result<ActionReport, Fault> {
        let port = service.port;
        let target = service.active_target.clone();
        let Some(live) = self.live() else {
            let message = match service.desired {
                Desired::Running => text::ops::added_for_next_start(port),
                Desired::Stopped => text::ops::added_stopped(port),
            };
            return Ok(self.report(vec![self.item(service, message)]));
        };
        if service.desired == Desired::Stopped {
            let checked = live.check_target(&service);
            if let Err(fault) = checked {
                return Err(self.take_back(&service, fault, by).await);
            }
            let message = text::ops::added_stopped(port);
            return Ok(self.report(vec![self.item(service, message)]));
        }
        let _turn = self.turn(service.id).await;
        // Whoever had the turn before may have removed it: nothing may run that no row stands for.
        let Some(service) = self.by_id(service.id).await? else {
            return Err(not_found(&service.name));
        };
        let one = std::slice::from_ref(&service);
        let started = self.run_now(one, by).await;
        if let Err(fault) | Ok(Some(Err(fault))) = started.map(|all| all.into_iter().next()) {
            // It may run all the same, if only its row could not be written.
            live.stop(one, None).await;
            return Err(self.take_back(&service, fault, by).await);
        }
        let service = self.select_one(&service.name).await?;
        let message = text::ops::added_running(port, target);
        Ok(self.report(vec![self.item(service, message)]))
    }

    /// Removes the row of a service that could not be brought up, and gives back why.
    async fn take_back(&self, service: &Service, fault: Fault, by: &Actor) -> Fault {
        let fault = self.refusing_control(&service.name, by, fault);
        // Also of a server that began to leave meanwhile: that may be the very reason.
        let Some(store) = self.reading_store() else { return fault };
        let now = self.now();
        let detail = text::ops::event_taken_back(&fault.message);
        let event = done(now, EventAction::ServiceRemoved, &service.name, by, detail);
        let removed = store.remove_services(&[service.id], vec![event]).await;
        self.events_appended().await;
        match removed {
            Ok(_) => fault,
            Err(error) => {
                tracing::warn!(service = %service.name, %error, "the row of a failed add stays");
                let message = text::ops::add_not_taken_back(&service.name, &fault.message);
                Fault { message, ..fault }
            }
        }
    }

    fn row(&self, new: &NewService, port: Port) -> Result<ServiceRow, Fault> {
        let active = match &new.active {
            Some(active) if new.targets.contains_key(active) => active.clone(),
            Some(active) => {
                let message = text::ops::active_target_unknown(active, &new.name);
                return Err(Fault::usage(message));
            }
            None => {
                let first = new.targets.keys().next();
                first.cloned().ok_or_else(|| Fault::usage(text::ops::no_target(&new.name)))?
            }
        };
        Ok(ServiceRow {
            name: new.name.clone(),
            port,
            bind: new.bind,
            desired: if new.stopped { Desired::Stopped } else { Desired::Running },
            active,
            targets: new.targets.clone(),
            tags: new.tags.clone(),
            register: new.register,
            health: new.health.clone(),
        })
    }

    /// The store's constraints have the last word; this says it before the port is tried, so that a
    /// registered and running port is reported as that and not as taken by pmctl.
    async fn check_registered(&self, name: &ServiceName, port: Option<Port>) -> Result<(), Fault> {
        if self.select(&Selection::All).await?.iter().any(|s| s.name == *name) {
            return Err(store_fault(StoreError::NameTaken { name: name.clone() }));
        }
        match port {
            Some(port) => self.check_unregistered(port).await,
            None => Ok(()),
        }
    }

    /// Likewise for the port alone.
    pub(super) async fn check_unregistered(&self, port: Port) -> Result<(), Fault> {
        match self.select(&Selection::All).await?.into_iter().find(|s| s.port == port) {
            Some(other) => Err(store_fault(StoreError::PortTaken { port, by: other.name })),
            None => Ok(()),
        }
    }

    /// The lowest port of the configured range that no service has and that can be bound.
    pub(super) async fn lowest_free_port(
        &self,
        bind: Option<IpAddr>,
        refused: &BTreeSet<Port>,
    ) -> Result<Port, Fault> {
        let registered: BTreeSet<Port> = match self.reading_store() {
            Some(store) => {
                let services = store.services(self.node()).await.map_err(store_fault)?;
                services.into_iter().map(|service| service.port).collect()
            }
            None => BTreeSet::new(),
        };
        let range = self.auto_ports();
        let address = listen_address(bind);
        for port in range.iter() {
            if registered.contains(&port) || refused.contains(&port) {
                continue;
            }
            match host::try_bind(address, port) {
                Ok(()) => return Ok(port),
                Err(host::BindFailure::InUse) => {}
                Err(other) => return Err(bind_fault(bind, port, other)),
            }
        }
        Err(Fault::new(FaultKind::Precondition, text::ops::no_free_port(range)))
    }
}

/// Fails with the holder named if `port` cannot be bound now.
pub(super) async fn check_free(bind: Option<IpAddr>, port: Port) -> Result<(), Fault> {
    match host::try_bind(listen_address(bind), port) {
        Ok(()) => Ok(()),
        Err(host::BindFailure::InUse) => Err(crate::ops::faults::taken_port_fault(port).await),
        Err(other) => Err(bind_fault(bind, port, other)),
    }
}

pub(super) fn listen_address(bind: Option<IpAddr>) -> IpAddr {
    bind.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}
