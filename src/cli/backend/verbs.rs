//! Every verb on either side: the server, or the database.

use std::collections::BTreeSet;
use std::time::Duration;

use super::direct::Direct;
use super::faults::client_fault;
use crate::cli::args::ServiceCommand;
use crate::host;
use crate::model::{
    ActionReport, Actor, CleanupProgress, CleanupReport, CleanupRequest, DrainProgress,
    EventsReport, Fault, FaultKind, HeartbeatHistory, HeartbeatsReport, KillProgress, KillReport,
    KillRequest, Port, PortsReport, Selection, ServiceName, ServicesReport, StatusReport,
    VerifyReport,
};
use crate::rpc::{ActionProgress, Client, ClientError};
use crate::text;

/// Whom the command works with.
pub(in crate::cli) enum Backend {
    Server(Box<Client>),
    Direct(Direct),
}

impl Backend {
    pub(in crate::cli) async fn status(&self) -> Result<StatusReport, Fault> {
        match self {
            Self::Server(client) => client.status().await.map_err(|e| fault(client, e)),
            Self::Direct(direct) => direct.ops.status().await,
        }
    }

    pub(in crate::cli) async fn verify(&self) -> Result<VerifyReport, Fault> {
        match self {
            Self::Server(client) => client.verify().await.map_err(|e| fault(client, e)),
            Self::Direct(direct) => direct.ops.verify().await,
        }
    }

    pub(in crate::cli) async fn services(
        &self,
        which: &Selection,
    ) -> Result<ServicesReport, Fault> {
        match self {
            Self::Server(client) => client.list_services(which).await.map_err(|e| fault(client, e)),
            Self::Direct(direct) => direct.ops.list_services(which).await,
        }
    }

    pub(in crate::cli) async fn ports(&self, ports: &BTreeSet<Port>) -> Result<PortsReport, Fault> {
        match self {
            Self::Server(client) => client.ports_status(ports).await.map_err(|e| fault(client, e)),
            Self::Direct(direct) => direct.ops.ports_status(ports).await,
        }
    }

    pub(in crate::cli) async fn events(
        &self,
        limit: u32,
        after: Option<i64>,
    ) -> Result<EventsReport, Fault> {
        match self {
            Self::Server(client) => client.events(limit, after).await.map_err(|e| fault(client, e)),
            Self::Direct(direct) => direct.ops.events(limit, after).await,
        }
    }

    pub(in crate::cli) async fn heartbeats(
        &self,
        which: &Selection,
    ) -> Result<HeartbeatsReport, Fault> {
        match self {
            Self::Server(client) => client.heartbeats(which).await.map_err(|e| fault(client, e)),
            Self::Direct(direct) => direct.ops.heartbeats_status(which).await,
        }
    }

    pub(in crate::cli) async fn heartbeat_history(
        &self,
        name: &ServiceName,
        limit: u32,
    ) -> Result<HeartbeatHistory, Fault> {
        match self {
            Self::Server(client) => {
                client.heartbeat_history(name, limit).await.map_err(|e| fault(client, e))
            }
            Self::Direct(direct) => direct.ops.heartbeat_history(name, limit).await,
        }
    }

    /// Carries out a command that changes services; `hear` learns how far a long one is.
    pub(in crate::cli) async fn change(
        &self,
        command: ServiceCommand,
        hear: &mut (dyn FnMut(&ActionProgress) + Send),
    ) -> Result<ActionReport, Fault> {
        match self {
            Self::Server(client) => {
                ask(client, command, hear).await.map_err(|error| unconfirmed(client, error))
            }
            Self::Direct(direct) => here(direct, command).await,
        }
    }
}

/// Lets a server free ports.
pub(in crate::cli) async fn kill_there(
    client: &Client,
    request: &KillRequest,
    hear: &(dyn Fn(KillProgress) + Send + Sync),
) -> Result<KillReport, Fault> {
    client.kill_ports(request, hear).await.map_err(|error| unconfirmed(client, error))
}

/// Lets a server drain a service.
pub(in crate::cli) async fn drain_there(
    client: &Client,
    name: &ServiceName,
    max: Duration,
    hear: &(dyn Fn(DrainProgress) + Send + Sync),
) -> Result<ActionReport, Fault> {
    client.drain_service(name, max, hear).await.map_err(|error| unconfirmed(client, error))
}

/// Lets a server clean up.
pub(in crate::cli) async fn cleanup_there(
    client: &Client,
    request: &CleanupRequest,
    hear: &(dyn Fn(CleanupProgress) + Send + Sync),
) -> Result<CleanupReport, Fault> {
    client.cleanup(request, hear).await.map_err(|error| unconfirmed(client, error))
}

async fn ask(
    client: &Client,
    command: ServiceCommand,
    hear: &mut (dyn FnMut(&ActionProgress) + Send),
) -> Result<ActionReport, ClientError> {
    match command {
        ServiceCommand::Add(new) => client.add_service(&new).await,
        ServiceCommand::Start(which) => client.start_services(&which).await,
        ServiceCommand::Stop(which) => client.stop_services(&which, hear).await,
        ServiceCommand::Restart(which) => client.restart_services(&which, hear).await,
        ServiceCommand::Remove(names) => client.remove_services(&names, hear).await,
        ServiceCommand::Set(name, patch) => client.set_service(&name, &patch, hear).await,
        ServiceCommand::TargetAdd { service, name, target } => {
            client.add_target(&service, &name, &target).await
        }
        ServiceCommand::TargetRemove { service, name } => {
            client.remove_target(&service, &name).await
        }
        ServiceCommand::Switch { service, target } => client.switch_target(&service, &target).await,
        ServiceCommand::List(_) | ServiceCommand::Show(_) | ServiceCommand::Drain { .. } => {
            unreachable!("cli::service answers these before")
        }
    }
}

async fn here(direct: &Direct, command: ServiceCommand) -> Result<ActionReport, Fault> {
    let (ops, by) = (&direct.ops, &Actor::Direct(host::current_user_name()));
    match command {
        ServiceCommand::Add(new) => ops.add_service(new, by).await,
        ServiceCommand::Start(which) => ops.start_services(&which, by).await,
        ServiceCommand::Stop(which) => ops.stop_services(&which, by).await,
        ServiceCommand::Restart(which) => ops.restart_services(&which, by).await,
        ServiceCommand::Remove(names) => ops.remove_services(&Selection::Named(names), by).await,
        ServiceCommand::Set(name, patch) => ops.set_service(&name, patch, by).await,
        ServiceCommand::TargetAdd { service, name, target } => {
            ops.add_target(&service, &name, target, by).await
        }
        ServiceCommand::TargetRemove { service, name } => {
            ops.remove_target(&service, &name, by).await
        }
        ServiceCommand::Switch { service, target } => {
            ops.switch_target(&service, &target, by).await
        }
        ServiceCommand::List(_) | ServiceCommand::Show(_) | ServiceCommand::Drain { .. } => {
            unreachable!("cli::service answers these before")
        }
    }
}

/// The fault of a change whose answer did not come: it may be on its way all the same.
fn unconfirmed(client: &Client, error: ClientError) -> Fault {
    match error {
        ClientError::Unresponsive { after } => {
            let url = client.server().url.as_deref().unwrap_or("-");
            let after = humantime::format_duration(after);
            let message = text::backend::change_unconfirmed(url, after);
            Fault::new(FaultKind::Unavailable, message)
        }
        error => fault(client, error),
    }
}

fn fault(client: &Client, error: ClientError) -> Fault {
    client_fault(client.server().url.as_deref().unwrap_or("-"), error)
}
