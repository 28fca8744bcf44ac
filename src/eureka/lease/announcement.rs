//! What a service is announced as.

use std::collections::BTreeMap;

use crate::eureka::{DataCenter, Instance, InstanceStatus, LeaseInfo, PortEntry};
use crate::model::{NodeName, Port, Registration, ServiceName};

/// Whose an instance is: the entries of its metadata by which a survivor knows what a dead node left.
/// A registry has no notion of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeMark {
    node: String,
    epoch: String,
}

impl NodeMark {
    /// Metadata: UUID of the database and node name.
    const NODE: &str = "pmctl.node";
    /// Metadata: the run of the node.
    const EPOCH: &str = "pmctl.epoch";

    /// The mark of the run `epoch` of a node.
    pub fn new(database: &str, name: &NodeName, epoch: i64) -> Self {
        Self { node: format!("{database}/{name}"), epoch: epoch.to_string() }
    }

    /// Whether this run of this node announced `instance`.
    pub fn is_on(&self, instance: &Instance) -> bool {
        self.is_of_node(instance) && instance.metadata.get(Self::EPOCH) == Some(&self.epoch)
    }

    /// Whether any run of this node announced `instance`.
    pub fn is_of_node(&self, instance: &Instance) -> bool {
        instance.metadata.get(Self::NODE) == Some(&self.node)
    }

    /// Whether any node of that database announced `instance`.
    pub fn is_of_database(database: &str, instance: &Instance) -> bool {
        let mark = instance.metadata.get(Self::NODE).and_then(|mark| mark.split_once('/'));
        mark.is_some_and(|(uuid, _)| uuid == database)
    }

    /// Whether any node of pmctl announced `instance`.
    pub fn is_any(instance: &Instance) -> bool {
        instance.metadata.contains_key(Self::NODE)
    }
}

/// The name of the application that a service is announced as (`InstanceInfo.Builder.setAppName`).
pub fn app_name(service: &ServiceName) -> String {
    service.as_str().to_uppercase()
}

/// A registration with what else consumers are told.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'a> {
    /// What was written down.
    pub registration: &'a Registration,
    /// Whose it is.
    pub mark: &'a NodeMark,
    /// What else is told; ours has the last word.
    pub metadata: &'a BTreeMap<String, String>,
    /// Port that consumers may use with TLS.
    pub secure_port: Option<Port>,
    /// Path that answers while the service is healthy, where one is known.
    pub health_path: Option<&'a str>,
}

impl Announcement<'_> {
    /// The instance, as a Spring Cloud consumer expects it. `dirty` is its `lastDirtyTimestamp`.
    pub fn instance(&self, status: InstanceStatus, dirty: i64) -> Instance {
        let of = self.registration;
        let authority = match of.host.contains(':') {
            true => format!("[{}]:{}", of.host, of.port),
            false => format!("{}:{}", of.host, of.port),
        };
        let url = |path: &str| Some(format!("http://{authority}{path}"));
        let vip = Some(of.service.to_string());
        let seconds =
            |d: std::time::Duration| u32::try_from(d.as_secs().max(1)).unwrap_or(u32::MAX);
        let mut metadata = BTreeMap::from([("management.port".to_owned(), of.port.to_string())]);
        metadata.extend(self.metadata.clone());
        metadata.insert(NodeMark::NODE.to_owned(), self.mark.node.clone());
        metadata.insert(NodeMark::EPOCH.to_owned(), self.mark.epoch.clone());
        Instance {
            instance_id: of.instance_id.clone(),
            host_name: of.host.clone(),
            app: of.app.clone(),
            ip_addr: of.address.clone(),
            status,
            port: PortEntry { number: of.port.get(), enabled: true },
            secure_port: PortEntry {
                // The one that Eureka's own clients name where they have none.
                number: self.secure_port.map_or(443, Port::get),
                enabled: self.secure_port.is_some(),
            },
            data_center: Some(DataCenter::my_own()),
            lease: Some(LeaseInfo {
                renewal_interval_secs: seconds(of.interval),
                duration_secs: seconds(of.duration),
                ..LeaseInfo::default()
            }),
            metadata,
            home_page_url: url("/"),
            status_page_url: url("/actuator/info"),
            health_check_url: url(self.health_path.unwrap_or("/actuator/health")),
            vip_address: vip.clone(),
            secure_vip_address: vip,
            last_updated: Some(dirty),
            last_dirty: Some(dirty),
            ..Instance::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::eureka::{Document, Format};
    use crate::model::{ServiceId, Timestamp};

    fn registration() -> Registration {
        Registration {
            service_id: ServiceId(1),
            service: "dspapi".parse().unwrap(),
            port: Port::new(27_721).unwrap(),
            registries: vec!["http://a/eureka".into()],
            app: app_name(&"dspapi".parse().unwrap()),
            instance_id: "10.0.0.7:dspapi:27721".into(),
            host: "10.0.0.7".into(),
            address: "10.0.0.7".into(),
            interval: Duration::from_secs(10),
            duration: Duration::from_secs(40),
            since: Timestamp::from_millis(1),
        }
    }

    #[test]
    fn a_service_is_announced_as_a_spring_cloud_consumer_expects_it() {
        let (registration, node) = (registration(), "default".parse().unwrap());
        let mark = NodeMark::new("uuid", &node, 7);
        let forged = ("pmctl.node".to_owned(), "someone else".to_owned());
        let metadata = BTreeMap::from([("zone".to_owned(), "a".to_owned()), forged]);
        let announcement = Announcement {
            registration: &registration,
            mark: &mark,
            metadata: &metadata,
            secure_port: Port::new(8443),
            health_path: None,
        };
        let instance = announcement.instance(InstanceStatus::Up, 5);
        let json = Document::Instance(&instance).encode(Format::Json);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let json = &json["instance"];
        for (field, value) in [
            ("app", "DSPAPI"),
            ("vipAddress", "dspapi"),
            ("hostName", "10.0.0.7"),
            ("ipAddr", "10.0.0.7"),
            ("homePageUrl", "http://10.0.0.7:27721/"),
            ("healthCheckUrl", "http://10.0.0.7:27721/actuator/health"),
            ("lastDirtyTimestamp", "5"),
        ] {
            assert_eq!(json[field], value, "{field}");
        }
        assert_eq!(json["port"], serde_json::json!({"$": 27721, "@enabled": "true"}));
        assert_eq!(json["securePort"], serde_json::json!({"$": 8443, "@enabled": "true"}));
        assert_eq!(json["leaseInfo"]["durationInSecs"], 40);
        assert_eq!(json["metadata"]["management.port"], "27721");
        assert_eq!(json["metadata"]["zone"], "a");
        assert_eq!(json["metadata"]["pmctl.node"], "uuid/default");
        assert!(mark.is_on(&instance) && NodeMark::is_any(&instance));
        assert!(!NodeMark::new("uuid", &node, 8).is_on(&instance));
        assert!(NodeMark::new("uuid", &node, 8).is_of_node(&instance));
        assert!(!NodeMark::new("other", &node, 7).is_on(&instance));
        assert!(NodeMark::is_of_database("uuid", &instance));
        assert!(!NodeMark::is_of_database("uui", &instance));
    }

    #[test]
    fn an_address_of_the_sixth_version_stands_in_brackets_in_a_url() {
        let registration = Registration { host: "fd00::1".into(), ..registration() };
        let mark = NodeMark::new("uuid", &"default".parse().unwrap(), 7);
        let announcement = Announcement {
            registration: &registration,
            mark: &mark,
            metadata: &BTreeMap::new(),
            secure_port: None,
            health_path: Some("/up"),
        };
        let instance = announcement.instance(InstanceStatus::Down, 5);
        assert_eq!(instance.health_check_url.as_deref(), Some("http://[fd00::1]:27721/up"));
        assert_eq!((instance.status, instance.secure_port.enabled), (InstanceStatus::Down, false));
    }
}
