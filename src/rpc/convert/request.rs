//! What is asked: read by the server, which refuses what is wrong; written by the client.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::Need;
use crate::model::{
    Credentials, Event, Fault, NewService, NewTarget, Port, PortChoice, Selection, ServiceName,
    ServicePatch, TargetName, TargetUrl, UpstreamTls, parse_tags,
};
use crate::rpc::generated as pb;
use crate::text;

/// The events that `ListEvents` gives when none are asked for by number.
const DEFAULT_EVENTS: u32 = 100;

/// The name of a service in a request.
pub(in crate::rpc) fn service_name(name: &str) -> Result<ServiceName, Fault> {
    name.parse().map_err(Fault::usage)
}

/// The name of a target in a request.
pub(in crate::rpc) fn target_name(name: &str) -> Result<TargetName, Fault> {
    name.parse().map_err(Fault::usage)
}

/// Which services a request is about.
pub(in crate::rpc) fn selection(sent: Option<pb::Selection>) -> Result<Selection, Fault> {
    let sent = sent.asked("which")?;
    match (sent.all, sent.names.is_empty()) {
        (true, true) => Ok(Selection::All),
        (true, false) => Err(Fault::usage(text::control::selection_twofold())),
        (false, _) => names(&sent.names),
    }
}

/// The services named, at least one.
pub(in crate::rpc) fn names(names: &[String]) -> Result<Selection, Fault> {
    if names.is_empty() {
        return Err(Fault::usage(text::control::selection_empty()));
    }
    names.iter().map(|name| service_name(name)).collect::<Result<_, _>>().map(Selection::Named)
}

/// How many events are asked for; 0 stands for the default.
pub(in crate::rpc) fn event_limit(limit: u32) -> Result<u32, Fault> {
    match limit {
        0 => Ok(DEFAULT_EVENTS),
        1..=Event::MAX_PAGE => Ok(limit),
        _ => Err(Fault::usage(text::control::event_limit_out_of_range(limit, Event::MAX_PAGE))),
    }
}

impl From<&Selection> for pb::Selection {
    fn from(which: &Selection) -> Self {
        match which {
            Selection::All => Self { all: true, names: Vec::new() },
            Selection::Named(names) => {
                Self { all: false, names: names.iter().map(ToString::to_string).collect() }
            }
        }
    }
}

pub(super) fn port(number: u32) -> Result<Port, Fault> {
    Port::try_from(i64::from(number)).map_err(Fault::usage)
}

fn port_choice(number: Option<u32>) -> Result<PortChoice, Fault> {
    number.map_or(Ok(PortChoice::Auto), |number| port(number).map(PortChoice::Fixed))
}

fn port_number(choice: PortChoice) -> Option<u32> {
    match choice {
        PortChoice::Auto => None,
        PortChoice::Fixed(port) => Some(port.get().into()),
    }
}

fn address(bind: &str) -> Result<IpAddr, Fault> {
    bind.parse().map_err(|_| Fault::usage(text::control::bind_not_an_address(bind)))
}

impl TryFrom<pb::NewTarget> for (TargetName, NewTarget) {
    type Error = Fault;

    fn try_from(sent: pb::NewTarget) -> Result<Self, Fault> {
        let name = target_name(&sent.name)?;
        let parsed = TargetUrl::parse_with_credentials(&sent.url).map_err(Fault::usage)?;
        let (url, in_url) = parsed;
        let apart = sent
            .credentials
            .map(|sent| Credentials { username: sent.username, password: sent.password });
        let ca_file = sent.ca_file.map(PathBuf::from);
        if let Some(path) = ca_file.as_ref().filter(|path| !path.is_absolute()) {
            return Err(Fault::usage(text::control::ca_file_relative(path.display())));
        }
        let tls = UpstreamTls { ca_file, insecure: sent.insecure };
        Ok((name, NewTarget { url, credentials: apart.or(in_url), tls }))
    }
}

impl From<(&TargetName, &NewTarget)> for pb::NewTarget {
    fn from((name, target): (&TargetName, &NewTarget)) -> Self {
        let credentials = target.credentials.as_ref().map(|kept| pb::Credentials {
            username: kept.username.clone(),
            password: kept.password.clone(),
        });
        Self {
            name: name.to_string(),
            url: target.url.to_string(),
            credentials,
            ca_file: target.tls.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
            insecure: target.tls.insecure,
        }
    }
}

impl TryFrom<pb::AddServiceRequest> for NewService {
    type Error = Fault;

    fn try_from(sent: pb::AddServiceRequest) -> Result<Self, Fault> {
        let mut targets = BTreeMap::new();
        let mut first = None;
        for target in sent.targets {
            let (name, target) = target.try_into()?;
            first.get_or_insert_with(|| name.clone());
            if targets.contains_key(&name) {
                return Err(Fault::usage(text::control::target_twice(name)));
            }
            targets.insert(name, target);
        }
        Ok(Self {
            name: service_name(&sent.name)?,
            port: port_choice(sent.port)?,
            bind: sent.bind.as_deref().map(address).transpose()?,
            targets,
            active: sent.active.as_deref().map(target_name).transpose()?.or(first),
            tags: parse_tags(&sent.tags).map_err(Fault::usage)?,
            register: sent.register.unwrap_or(true),
            stopped: sent.stopped,
        })
    }
}

impl From<&NewService> for pb::AddServiceRequest {
    fn from(new: &NewService) -> Self {
        Self {
            name: new.name.to_string(),
            port: port_number(new.port),
            bind: new.bind.map(|address| address.to_string()),
            targets: new.targets.iter().map(Into::into).collect(),
            active: new.active.as_ref().map(ToString::to_string),
            tags: new.tags.clone(),
            register: Some(new.register),
            stopped: new.stopped,
        }
    }
}

impl TryFrom<pb::SetServiceRequest> for (ServiceName, ServicePatch) {
    type Error = Fault;

    fn try_from(sent: pb::SetServiceRequest) -> Result<Self, Fault> {
        let bind = |choice: pb::BindChoice| choice.address.as_deref().map(address).transpose();
        let patch = ServicePatch {
            name: sent.new_name.as_deref().map(service_name).transpose()?,
            port: sent.port.map(|choice| port_choice(choice.number)).transpose()?,
            bind: sent.bind.map(bind).transpose()?,
            tags: sent.tags.map(|list| parse_tags(&list.tags).map_err(Fault::usage)).transpose()?,
            register: sent.register,
        };
        Ok((service_name(&sent.name)?, patch))
    }
}

impl From<(&ServiceName, &ServicePatch)> for pb::SetServiceRequest {
    fn from((name, patch): (&ServiceName, &ServicePatch)) -> Self {
        let bind = |address: IpAddr| address.to_string();
        Self {
            name: name.to_string(),
            new_name: patch.name.as_ref().map(ToString::to_string),
            port: patch.port.map(|choice| pb::PortChoice { number: port_number(choice) }),
            bind: patch.bind.map(|choice| pb::BindChoice { address: choice.map(bind) }),
            tags: patch.tags.clone().map(|tags| pb::TagList { tags }),
            register: patch.register,
            beat_ms: 0,
        }
    }
}

/// The ports of a request; none stands for every registered one.
impl TryFrom<pb::GetPortsRequest> for std::collections::BTreeSet<Port> {
    type Error = Fault;

    fn try_from(sent: pb::GetPortsRequest) -> Result<Self, Fault> {
        sent.ports.into_iter().map(port).collect()
    }
}
