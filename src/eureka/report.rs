//! What a registry lists, as pmctl reports it.

use super::wire::{Application, Applications, Instance, InstanceStatus};
use crate::model::{RegistryApplication, RegistryInstance, RegistryReport, Success, Timestamp};

impl Applications {
    /// The report on them, sorted; `registry` is the URL they came from, without credentials.
    pub fn report(&self, registry: impl Into<String>) -> RegistryReport {
        let mut applications: Vec<RegistryApplication> =
            self.applications.iter().map(Application::view).collect();
        applications.sort_by(|a, b| a.name.cmp(&b.name));
        RegistryReport { success: Success, registry: registry.into(), applications }
    }
}

impl Application {
    fn view(&self) -> RegistryApplication {
        let mut instances: Vec<RegistryInstance> =
            self.instances.iter().map(Instance::view).collect();
        instances.sort_by(|a, b| a.instance_id.cmp(&b.instance_id));
        RegistryApplication { name: self.name.clone(), instances }
    }
}

impl Instance {
    fn view(&self) -> RegistryInstance {
        let told = Some(self.overridden_status).filter(|s| *s != InstanceStatus::Unknown);
        let registered = self.lease.map(|l| l.registration_timestamp).filter(|at| *at > 0);
        RegistryInstance {
            instance_id: self.id().to_owned(),
            status: self.status.as_str().to_owned(),
            override_status: told.map(|status| status.as_str().to_owned()),
            host: self.host_name.clone(),
            address: self.ip_addr.clone(),
            port: self.port.enabled.then_some(self.port.number),
            secure_port: self.secure_port.enabled.then_some(self.secure_port.number),
            registered: registered.map(Timestamp::from_millis),
            lease_seconds: self.lease.map(|lease| lease.duration_secs),
            metadata: self.metadata.clone(),
        }
    }
}
