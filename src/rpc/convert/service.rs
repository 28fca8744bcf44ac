//! Services, targets and counters as shown.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Need, Word, millis, not_understood, number};
use crate::model::{
    Actual, Counters, Desired, Fault, InstanceView, Port, ServiceName, ServiceView, TargetName,
    TargetView, Timestamp,
};
use crate::rpc::generated as pb;

impl From<&Counters> for pb::Counters {
    fn from(counted: &Counters) -> Self {
        Self {
            connections: counted.connections,
            in_flight: counted.in_flight,
            tunnels: counted.tunnels,
            accepted: counted.accepted,
            responses: counted.responses.to_vec(),
            upstream_failures: counted.upstream_failures,
            bytes_in: counted.bytes_in,
            bytes_out: counted.bytes_out,
        }
    }
}

impl TryFrom<pb::Counters> for Counters {
    type Error = Fault;

    fn try_from(sent: pb::Counters) -> Result<Self, Fault> {
        let responses = sent.responses.try_into();
        Ok(Self {
            connections: sent.connections,
            in_flight: sent.in_flight,
            tunnels: sent.tunnels,
            accepted: sent.accepted,
            responses: responses.map_err(|_| not_understood("counters.responses"))?,
            upstream_failures: sent.upstream_failures,
            bytes_in: sent.bytes_in,
            bytes_out: sent.bytes_out,
        })
    }
}

fn target(name: &TargetName, view: &TargetView) -> pb::Target {
    pb::Target {
        name: name.to_string(),
        url: view.url.clone(),
        has_credentials: view.has_credentials,
        ca_file: view.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
        insecure: view.insecure,
    }
}

fn instances(views: &[InstanceView]) -> pb::Instances {
    let instance = |view: &InstanceView| pb::Instance {
        url: view.url.clone(),
        in_flight: view.in_flight,
        aside_ms: view.aside_ms,
    };
    pb::Instances { instances: views.iter().map(instance).collect() }
}

fn read_instances(sent: pb::Instances) -> Vec<InstanceView> {
    let read = |sent: pb::Instance| InstanceView {
        url: sent.url,
        in_flight: sent.in_flight,
        aside_ms: sent.aside_ms,
    };
    sent.instances.into_iter().map(read).collect()
}

impl From<&ServiceView> for pb::Service {
    fn from(view: &ServiceView) -> Self {
        Self {
            name: view.name.to_string(),
            port: view.port.get().into(),
            bind: view.bind.map(|address| address.to_string()),
            desired: number::<pb::Desired, _>(view.desired),
            actual: number::<pb::Actual, _>(view.actual),
            reason: view.reason.as_ref().map(Into::into),
            since_at_ms: millis(view.since),
            active_target: view.active_target.to_string(),
            targets: view.targets.iter().map(|(name, view)| target(name, view)).collect(),
            tags: view.tags.clone(),
            register: view.register,
            created_at_ms: millis(view.created_at),
            updated_at_ms: millis(view.updated_at),
            revision: view.revision,
            counters: view.counters.as_ref().map(Into::into),
            health: view.health.as_ref().map(Into::into),
            instances: view.instances.as_deref().map(instances),
        }
    }
}

impl TryFrom<pb::Service> for ServiceView {
    type Error = Fault;

    fn try_from(sent: pb::Service) -> Result<Self, Fault> {
        Ok(Self {
            name: known_service(&sent.name)?,
            port: known_port(sent.port)?,
            bind: sent.bind.map(|b| b.parse::<IpAddr>().ok().answered("bind")).transpose()?,
            desired: Desired::read(sent.desired, "desired")?,
            actual: Actual::read(sent.actual, "actual")?,
            reason: sent.reason.map(Into::into),
            since: Timestamp::from_millis(sent.since_at_ms),
            active_target: known_target(&sent.active_target)?,
            targets: sent
                .targets
                .into_iter()
                .map(read_target)
                .collect::<Result<BTreeMap<_, _>, _>>()?,
            tags: sent.tags,
            register: sent.register,
            created_at: Timestamp::from_millis(sent.created_at_ms),
            updated_at: Timestamp::from_millis(sent.updated_at_ms),
            revision: sent.revision,
            counters: sent.counters.map(TryInto::try_into).transpose()?,
            health: sent.health.map(TryInto::try_into).transpose()?,
            instances: sent.instances.map(read_instances),
        })
    }
}

fn read_target(sent: pb::Target) -> Result<(TargetName, TargetView), Fault> {
    let view = TargetView {
        url: sent.url,
        has_credentials: sent.has_credentials,
        ca_file: sent.ca_file.map(PathBuf::from),
        insecure: sent.insecure,
    };
    Ok((known_target(&sent.name)?, view))
}

/// The name of a service in an answer.
pub(super) fn known_service(name: &str) -> Result<ServiceName, Fault> {
    name.parse().map_err(|_| not_understood("service name"))
}

fn known_target(name: &str) -> Result<TargetName, Fault> {
    name.parse().map_err(|_| not_understood("target name"))
}

/// A port in an answer.
pub(super) fn known_port(number: u32) -> Result<Port, Fault> {
    Port::try_from(i64::from(number)).map_err(|_| not_understood("port"))
}
