//! What the demo sets up, and taking it away again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::directory::PrivateDirectory;
use super::upstream;
use crate::eureka::RegistrySettings;
use crate::lifecycle::Tasks;
use crate::model::{
    Actor, Fault, FaultKind, NewService, NewTarget, Port, PortChoice, RegistryUrl, ServiceName,
    TargetName, TargetUrl, UpstreamTls,
};
use crate::ops::Ops;
use crate::serve::observer::DemoView;
use crate::serve::registry::RegistryServer;
use crate::text::{self, Lang, Message};

/// The port of a Eureka registry.
const REGISTRY: u16 = 8761;

/// Names and wanted ports.
const SERVICES: [(&str, u16); 2] = [("dspapi", 27721), ("admin-meta-api", 8080)];

/// Names of the upstreams; each service has both as targets, the first is active.
const UPSTREAMS: [&str; 2] = ["blue", "green"];

/// How many ports after a taken one are tried.
const TRIES: u16 = 200;

/// What a demo has of its own: a temporary directory, which goes when this is dropped, and a registry.
pub struct DemoPlan {
    directory: PrivateDirectory,
    registry: Option<RegistryServer>,
    notes: Vec<Message>,
}

impl DemoPlan {
    /// Makes a new directory that only this user can enter.
    pub fn new() -> io::Result<Self> {
        let directory = PrivateDirectory::new("pmctl-demo")?;
        Ok(Self { directory, registry: None, notes: Vec::new() })
    }

    /// Listens where a Eureka registry usually does, or on the next free port; the URL for its
    /// clients.
    ///
    /// # Errors
    /// The fault of the last address that was tried.
    pub async fn with_registry(&mut self, lang: Lang) -> Result<RegistryUrl, Fault> {
        let settings = RegistrySettings::default();
        let mut wanted = REGISTRY;
        let registry = loop {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted));
            match RegistryServer::bind(address, &settings, None, lang).await {
                Ok(registry) => break registry,
                Err(fault) if wanted >= REGISTRY.saturating_add(TRIES) => return Err(fault),
                Err(_) => wanted += 1,
            }
        };
        let url = registry.url();
        if wanted != REGISTRY {
            self.notes.push(text::serve::demo_registry_replaced(REGISTRY, &url));
        }
        self.registry = Some(registry);
        RegistryUrl::parse(&url)
            .map_err(|error| Fault::caused(FaultKind::Internal, text::serve::demo_failed(), &error))
    }

    /// What was done differently so far because something was in the way.
    pub(in crate::serve) fn take_notes(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.notes)
    }

    /// Serves its registry until the shutdown waits for its tasks: by then every service has left it.
    pub(in crate::serve) fn serve_registry(&mut self, tasks: &Tasks) {
        if let Some(registry) = self.registry.take() {
            registry.serve_until_end(tasks);
        }
    }

    /// The directory.
    pub(in crate::serve) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The database of the demo.
    pub fn database_url(&self) -> String {
        format!("sqlite://{}", self.directory.path().join("pmctl.db").display())
    }
}

/// Starts the upstreams and registers the services.
pub(in crate::serve) async fn set_up(ops: &Ops, tasks: &Tasks) -> Result<DemoView, Fault> {
    let mut targets = BTreeMap::new();
    for name in UPSTREAMS {
        let address = upstream::spawn(name, tasks).await.map_err(|error| {
            Fault::caused(FaultKind::Internal, text::serve::demo_failed(), &error)
        })?;
        targets.insert(target_name(name)?, target(address)?);
    }
    let (mut services, mut notes) = (Vec::new(), Vec::new());
    for (name, port) in SERVICES {
        let name: ServiceName = name.parse().map_err(Fault::usage)?;
        let port = register(ops, &name, port, &targets, &mut notes).await?;
        services.push((name, port));
    }
    let first = services.first().map(|(name, _)| name.clone());
    let switched =
        first.ok_or_else(|| Fault::new(FaultKind::Internal, text::serve::demo_failed()))?;
    let switch = (switched, UPSTREAMS[1].to_owned());
    Ok(DemoView { services, switch, registry: None, token_file: None, notes })
}

fn target_name(name: &str) -> Result<TargetName, Fault> {
    name.parse().map_err(Fault::usage)
}

fn target(address: SocketAddr) -> Result<NewTarget, Fault> {
    let url: TargetUrl = format!("http://{address}").parse().map_err(Fault::usage)?;
    Ok(NewTarget { url, credentials: None, tls: UpstreamTls::default() })
}

/// Registers `name` on the wanted port, or on the next free one with a note that says why.
async fn register(
    ops: &Ops,
    name: &ServiceName,
    wanted: u16,
    targets: &BTreeMap<TargetName, NewTarget>,
    notes: &mut Vec<Message>,
) -> Result<Port, Fault> {
    // Why the wanted port could not be had: the first holder, where it is visible.
    let mut holder: Option<Option<String>> = None;
    for number in wanted..=wanted.saturating_add(TRIES) {
        let Some(port) = Port::new(number) else { continue };
        let new = NewService {
            name: name.clone(),
            port: PortChoice::Fixed(port),
            bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            targets: targets.clone(),
            active: Some(target_name(UPSTREAMS[0])?),
            tags: vec!["demo".to_owned()],
            register: true,
            health: None,
            stopped: false,
        };
        match ops.add_service(new, &Actor::Server).await {
            Ok(_) => {
                match holder {
                    None => {}
                    Some(Some(holder)) => {
                        notes.push(text::serve::demo_port_replaced(wanted, name, holder, port));
                    }
                    Some(None) => {
                        notes.push(text::serve::demo_port_replaced_unseen(wanted, name, port));
                    }
                }
                return Ok(port);
            }
            Err(fault) if is_about_the_port(&fault) => {
                let said = fault.message.args().find(|(name, _)| *name == "holder");
                holder.get_or_insert(said.map(|(_, holder)| holder.to_owned()));
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::new(FaultKind::Precondition, text::serve::demo_failed()))
}

/// Taken, or not allowed: another port may do.
fn is_about_the_port(fault: &Fault) -> bool {
    let code = fault.message.code();
    code.starts_with("port-taken") || code == "port-privileged" || code == "port-registered"
}
