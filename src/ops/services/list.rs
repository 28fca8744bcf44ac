//! Finding services and showing them.

use tokio::sync::OwnedMutexGuard;

use crate::model::{
    ActionItem, ActionReport, Fault, FaultKind, HealthView, Selection, Service, ServiceId,
    ServiceName, ServiceView, ServicesReport, Success,
};
use crate::ops::context::Ops;
use crate::ops::faults::store_fault;
use crate::text::{self, Message};

impl Ops {
    /// The services of `which`, by name. A name that is not registered fails the whole.
    pub async fn list_services(&self, which: &Selection) -> Result<ServicesReport, Fault> {
        let services = self.select(which).await?;
        let services = services.into_iter().map(|service| self.view(service)).collect();
        Ok(ServicesReport { success: Success, source: self.source(), services })
    }

    /// The rows of `which`: all in the order of their names, named ones in the order asked, each
    /// once.
    pub(in crate::ops) async fn select(&self, which: &Selection) -> Result<Vec<Service>, Fault> {
        let all = match self.reading_store() {
            Some(store) => store.services(self.node()).await.map_err(store_fault)?,
            None => Vec::new(),
        };
        let names = match which {
            Selection::All => return Ok(all),
            Selection::Named(names) => names,
        };
        let mut found: Vec<Service> = Vec::with_capacity(names.len());
        for name in names {
            let service = all.iter().find(|s| s.name == *name).ok_or_else(|| not_found(name))?;
            if !found.iter().any(|f| f.id == service.id) {
                found.push(service.clone());
            }
        }
        Ok(found)
    }

    pub(in crate::ops) async fn select_one(&self, name: &ServiceName) -> Result<Service, Fault> {
        let named = Selection::Named(vec![name.clone()]);
        self.select(&named).await?.pop().ok_or_else(|| not_found(name))
    }

    pub(in crate::ops) async fn by_id(&self, id: ServiceId) -> Result<Option<Service>, Fault> {
        Ok(self.select(&Selection::All).await?.into_iter().find(|service| service.id == id))
    }

    /// The services of `which` as they are once it is this caller's turn with each of them.
    pub(super) async fn claim(&self, which: &Selection) -> Result<Claim, Fault> {
        let services = self.select(which).await?;
        let turns = self.turns(services.iter().map(|service| service.id)).await;
        // Whoever had the turn before may have renamed or removed one.
        let now = self.select(&Selection::All).await?;
        let again = |old: &Service| {
            let found = now.iter().find(|service| service.id == old.id);
            found.cloned().ok_or_else(|| not_found(&old.name))
        };
        let services = services.iter().map(again).collect::<Result<_, _>>()?;
        Ok(Claim { services, _turns: turns })
    }

    /// The service of that name, likewise.
    pub(super) async fn claim_one(&self, name: &ServiceName) -> Result<(Service, Claim), Fault> {
        let claim = self.claim(&Selection::Named(vec![name.clone()])).await?;
        match claim.services.first().cloned() {
            Some(service) => Ok((service, claim)),
            None => Err(not_found(name)),
        }
    }

    pub(super) fn view(&self, service: Service) -> ServiceView {
        let counters = self.live().and_then(|live| live.counters(service.id));
        let id = service.id;
        let mut view = ServiceView::new(service, counters);
        view.instances = self.live().and_then(|live| live.instances(id));
        if let Some(seen) = self.live().and_then(|live| live.health(id)) {
            // How it is watched stands in the row, which may be newer than the last look.
            view.health = view.health.map(|health| HealthView { check: health.check, ..seen });
        }
        view
    }

    pub(super) fn item(&self, service: Service, message: Message) -> ActionItem {
        ActionItem { service: self.view(service), message, cut: Vec::new(), fault: None }
    }

    pub(super) fn report(&self, services: Vec<ActionItem>) -> ActionReport {
        ActionReport { success: Success, source: self.source(), applied: self.applied(), services }
    }
}

/// Services that nobody else changes while this lives.
pub(super) struct Claim {
    pub(super) services: Vec<Service>,
    _turns: Vec<OwnedMutexGuard<()>>,
}

pub(super) fn not_found(name: &ServiceName) -> Fault {
    Fault::new(FaultKind::NotFound, text::model::service_not_found(name))
}
