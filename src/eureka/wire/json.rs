//! Writing JSON as `EurekaJacksonCodec.java` does, field for field and in its order: the fields that
//! are `@Auto` there come last, all as strings.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Serializer as JsonSerializer;

use super::Document;
use super::nouns::{
    Application, Applications, DataCenter, DataCenterName, Instance, LeaseInfo, PortEntry,
};

/// The bytes of a document, its root around it.
pub(super) fn encode(document: &Document<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = JsonSerializer::new(&mut out);
    let root = |serializer: &mut JsonSerializer<&mut Vec<u8>>| {
        let mut map = serializer.serialize_map(Some(1))?;
        match document {
            Document::Instance(instance) => map.serialize_entry("instance", instance)?,
            Document::Application(application) => {
                map.serialize_entry("application", application)?
            }
            Document::Applications(all) => map.serialize_entry("applications", all)?,
        }
        map.end()
    };
    // Into memory, with string keys and no fallible parts: nothing can fail.
    match root(&mut serializer) {
        Ok(()) => out,
        Err(error) => {
            tracing::error!(%error, "a document could not be written as JSON");
            Vec::new()
        }
    }
}

impl Serialize for Applications {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("versions__delta", &self.version.to_string())?;
        map.serialize_entry("apps__hashcode", &self.hash_code)?;
        map.serialize_entry("application", &self.applications)?;
        map.end()
    }
}

impl Serialize for Application {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("instance", &self.instances)?;
        map.end()
    }
}

impl Serialize for Instance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.instance_id.is_empty() {
            map.serialize_entry("instanceId", &self.instance_id)?;
        }
        map.serialize_entry("hostName", &self.host_name)?;
        map.serialize_entry("app", &self.app)?;
        map.serialize_entry("ipAddr", &self.ip_addr)?;
        if let Some(sid) = &self.sid {
            map.serialize_entry("sid", sid)?;
        }
        map.serialize_entry("status", self.status.as_str())?;
        map.serialize_entry("overriddenStatus", self.overridden_status.as_str())?;
        map.serialize_entry("port", &self.port)?;
        map.serialize_entry("securePort", &self.secure_port)?;
        map.serialize_entry("countryId", &self.country_id)?;
        if let Some(center) = &self.data_center {
            map.serialize_entry("dataCenterInfo", center)?;
        }
        if let Some(lease) = &self.lease {
            map.serialize_entry("leaseInfo", lease)?;
        }
        map.serialize_entry("metadata", &Metadata(&self.metadata))?;
        for (name, value) in self.auto_fields() {
            map.serialize_entry(name, &value)?;
        }
        for (name, value) in &self.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Instance {
    /// The fields that are `@Auto` in `InstanceInfo.java`, in its order, without those that are
    /// not given.
    pub(super) fn auto_fields(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let fields = [
            ("appGroupName", self.app_group_name.clone()),
            ("homePageUrl", self.home_page_url.clone()),
            ("statusPageUrl", self.status_page_url.clone()),
            ("healthCheckUrl", self.health_check_url.clone()),
            ("secureHealthCheckUrl", self.secure_health_check_url.clone()),
            ("vipAddress", self.vip_address.clone()),
            ("secureVipAddress", self.secure_vip_address.clone()),
            ("isCoordinatingDiscoveryServer", Some(self.is_coordinating.to_string())),
            ("lastUpdatedTimestamp", number(self.last_updated)),
            ("lastDirtyTimestamp", number(self.last_dirty)),
            ("actionType", self.action.map(|action| action.as_str().to_owned())),
            ("asgName", self.asg_name.clone()),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Serialize for PortEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("$", &self.number)?;
        map.serialize_entry("@enabled", if self.enabled { "true" } else { "false" })?;
        map.end()
    }
}

impl Serialize for DataCenter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("@class", self.name.class())?;
        map.serialize_entry("name", self.name.as_str())?;
        if self.name == DataCenterName::Amazon {
            map.serialize_entry("metadata", &self.metadata)?;
        }
        map.end()
    }
}

impl Serialize for LeaseInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        for (name, value) in self.fields() {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

impl LeaseInfo {
    /// Its fields in the order both formats write them.
    pub(super) fn fields(&self) -> [(&'static str, i64); 6] {
        [
            ("renewalIntervalInSecs", self.renewal_interval_secs.into()),
            ("durationInSecs", self.duration_secs.into()),
            ("registrationTimestamp", self.registration_timestamp),
            ("lastRenewalTimestamp", self.last_renewal_timestamp),
            ("evictionTimestamp", self.eviction_timestamp),
            ("serviceUpTimestamp", self.service_up_timestamp),
        ]
    }
}

/// An empty map carries its Java class, which old consumers want to see.
struct Metadata<'a>(&'a BTreeMap<String, String>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.0.is_empty() {
            return self.0.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("@class", "java.util.Collections$EmptyMap")?;
        map.end()
    }
}
