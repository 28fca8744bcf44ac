//! The verbs that change services, as every face calls them. Each goes on to its end, see
//! `ops::finish`.

use crate::model::{
    ActionReport, Actor, Fault, NewService, NewTarget, Selection, ServiceName, ServicePatch,
    TargetName,
};
use crate::ops::context::Ops;

impl Ops {
    /// Registers a service and, inside a live server, starts it unless it is to be stopped. If it
    /// cannot be started nothing is registered.
    pub async fn add_service(&self, new: NewService, by: &Actor) -> Result<ActionReport, Fault> {
        let (ops, by) = (self.clone(), by.clone());
        self.to_its_end(async move { ops.add(new, &by).await }).await
    }

    /// Makes running the desired state of `which`, and inside a live server the actual one.
    pub async fn start_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, which, by) = (self.clone(), which.clone(), by.clone());
        self.to_its_end(async move { ops.start(&which, &by).await }).await
    }

    /// Makes stopped the desired state of `which`, and inside a live server the actual one, after
    /// a drain.
    pub async fn stop_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, which, by) = (self.clone(), which.clone(), by.clone());
        self.to_its_end(async move { ops.stop(&which, None, &by).await }).await
    }

    /// Stops and starts `which`; without a server it makes running the desired state.
    pub async fn restart_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, which, by) = (self.clone(), which.clone(), by.clone());
        self.to_its_end(async move { ops.restart(&which, &by).await }).await
    }

    /// Stops and removes the services of `which`, all of their rows in one transaction.
    pub async fn remove_services(
        &self,
        which: &Selection,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, which, by) = (self.clone(), which.clone(), by.clone());
        self.to_its_end(async move { ops.remove(&which, &by).await }).await
    }

    /// Changes name, port, address, labels or registration of a service. A running one moves to its
    /// new port at once; if that cannot be bound nothing is changed.
    pub async fn set_service(
        &self,
        name: &ServiceName,
        patch: ServicePatch,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, name, by) = (self.clone(), name.clone(), by.clone());
        self.to_its_end(async move { ops.set(&name, patch, &by).await }).await
    }

    /// Adds a target, or replaces the one of that name; a running service whose active target is
    /// replaced forwards to the new one at once.
    pub async fn add_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        target: NewTarget,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, by) = (self.clone(), by.clone());
        let (service, name) = (service.clone(), name.clone());
        self.to_its_end(async move { ops.put_target(&service, &name, target, &by).await }).await
    }

    /// Removes a target; the active one cannot be removed.
    pub async fn remove_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, by) = (self.clone(), by.clone());
        let (service, name) = (service.clone(), name.clone());
        self.to_its_end(async move { ops.drop_target(&service, &name, &by).await }).await
    }

    /// Makes another target the active one. Requests in flight finish on the old one.
    pub async fn switch_target(
        &self,
        service: &ServiceName,
        name: &TargetName,
        by: &Actor,
    ) -> Result<ActionReport, Fault> {
        let (ops, by) = (self.clone(), by.clone());
        let (service, name) = (service.clone(), name.clone());
        self.to_its_end(async move { ops.switch(&service, &name, &by).await }).await
    }
}
