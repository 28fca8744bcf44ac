//! Freeing ports: plan, consent, apply.

use std::collections::BTreeSet;

use crate::model::{Actor, Fault, FaultKind, KillProgress, KillReport, KillRequest, Port};
use crate::ops::context::Ops;
use crate::text;

/// What would be done to free ports; nothing has been done yet.
pub struct KillPlan {}

impl Ops {
    /// Looks who has the ports of `request` and decides what may be done about each.
    pub async fn plan_kill(&self, request: &KillRequest) -> Result<KillPlan, Fault> {
        let _ = request;
        Err(Fault::new(FaultKind::Internal, text::ops::processes_unreadable()))
    }

    /// Frees the ports of `request`, or says what would be done; `hear` is told of progress.
    pub async fn kill_ports(
        &self,
        request: &KillRequest,
        by: &Actor,
        hear: &(dyn Fn(KillProgress) + Send + Sync),
    ) -> Result<KillReport, Fault> {
        let _ = (self.plan_kill(request).await?, by, hear);
        Err(Fault::new(FaultKind::Internal, text::ops::processes_unreadable()))
    }

    /// Those of `ports` that the live server of this database serves: it frees them itself, by
    /// stopping their services.
    pub async fn served_ports(&self, ports: &BTreeSet<Port>) -> Result<BTreeSet<Port>, Fault> {
        let _ = ports;
        Ok(BTreeSet::new())
    }
}
