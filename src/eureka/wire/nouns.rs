//! What travels: instances in applications, with their leases, ports and statuses.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::Timestamp;

/// What an instance says of itself, or was told to be (`InstanceInfo.InstanceStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceStatus {
    /// Takes traffic.
    #[default]
    Up,
    /// Its health check failed.
    Down,
    /// Not yet.
    Starting,
    /// Taken out of traffic on purpose.
    OutOfService,
    /// Nobody knows, or a word that nobody knows.
    Unknown,
}

impl InstanceStatus {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Up, Self::Down, Self::Starting, Self::OutOfService, Self::Unknown];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Starting => "STARTING",
            Self::OutOfService => "OUT_OF_SERVICE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status of a word, whatever its case; `None` for any other word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(word.trim()))
    }
}

/// What last happened to an instance in the registry (`InstanceInfo.ActionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Registered.
    Added,
    /// Its status was changed from outside.
    Modified,
    /// Cancelled or expired.
    Deleted,
}

impl Action {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    /// The action of a word; `None` for any other word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Added, Self::Modified, Self::Deleted];
        all.into_iter().find(|action| action.as_str() == word.trim())
    }
}

/// Where an instance runs (`DataCenterInfo.Name`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataCenterName {
    /// Netflix' own.
    Netflix,
    /// Amazon's cloud; the only one with metadata.
    Amazon,
    /// Anywhere else.
    MyOwn,
}

impl DataCenterName {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Netflix => "Netflix",
            Self::Amazon => "Amazon",
            Self::MyOwn => "MyOwn",
        }
    }

    /// The name of a word, whatever its case; `None` for any other word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Netflix, Self::Amazon, Self::MyOwn];
        all.into_iter().find(|name| name.as_str().eq_ignore_ascii_case(word.trim()))
    }

    /// The Java class that consumers still expect beside the name.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Amazon => "com.netflix.appinfo.AmazonInfo",
            Self::Netflix | Self::MyOwn => "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
        }
    }
}

/// Where an instance runs, with what Amazon tells about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCenter {
    /// Which.
    pub name: DataCenterName,
    /// Empty unless it is Amazon's.
    pub metadata: BTreeMap<String, String>,
}

impl DataCenter {
    /// Anywhere but Amazon's.
    pub fn my_own() -> Self {
        Self { name: DataCenterName::MyOwn, metadata: BTreeMap::new() }
    }
}

/// The lease of an instance. Moments are milliseconds since the Unix epoch, 0 for "not yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// How often the instance renews, seconds: at least 1, 30 unless it says otherwise.
    pub renewal_interval_secs: u32,
    /// How long the registry waits for a renewal, seconds: at least 1, 90 unless it says otherwise.
    pub duration_secs: u32,
    /// When it was registered; the registry sets it.
    pub registration_timestamp: i64,
    /// When it was renewed; the registry sets it, one duration too far ahead (see the registry).
    pub last_renewal_timestamp: i64,
    /// When it was evicted; the registry sets it.
    pub eviction_timestamp: i64,
    /// When it was first UP; the registry sets it.
    pub service_up_timestamp: i64,
}

impl Default for LeaseInfo {
    fn default() -> Self {
        Self {
            renewal_interval_secs: 30,
            duration_secs: 90,
            registration_timestamp: 0,
            last_renewal_timestamp: 0,
            eviction_timestamp: 0,
            service_up_timestamp: 0,
        }
    }
}

/// A port and whether it is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// The number; 0 is possible where it is disabled.
    pub number: u16,
    /// Whether it is to be used.
    pub enabled: bool,
}

/// One instance of an application. Text that is empty was not given.
///
/// What a registration leaves out has the value that `InstanceInfo.java` gives it: status UP, port
/// 7001 enabled, secure port 7002 disabled, country 1, both timestamps the moment it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its name among the instances; see [`Instance::id`] for one without.
    pub instance_id: String,
    /// Host name or address for consumers.
    pub host_name: String,
    /// Name of the application, in capitals.
    pub app: String,
    /// Address for consumers.
    pub ip_addr: String,
    /// A relic; `None` unless it says something.
    pub sid: Option<String>,
    /// As it is to be taken: an override, if there is one, else what the instance said.
    pub status: InstanceStatus,
    /// What it was told to be from outside; unknown where nobody did.
    pub overridden_status: InstanceStatus,
    /// Plain port.
    pub port: PortEntry,
    /// TLS port.
    pub secure_port: PortEntry,
    /// A relic, 1.
    pub country_id: i64,
    /// Where it runs; a registration without one is refused.
    pub data_center: Option<DataCenter>,
    /// Its lease; `None` only before it is registered.
    pub lease: Option<LeaseInfo>,
    /// Free text for consumers.
    pub metadata: BTreeMap<String, String>,
    /// Group of applications, in capitals.
    pub app_group_name: Option<String>,
    /// Page for people.
    pub home_page_url: Option<String>,
    /// Page about its state.
    pub status_page_url: Option<String>,
    /// Answers 200 while it is healthy.
    pub health_check_url: Option<String>,
    /// The same over TLS.
    pub secure_health_check_url: Option<String>,
    /// Names consumers look it up by, separated by commas.
    pub vip_address: Option<String>,
    /// The same for the TLS port.
    pub secure_vip_address: Option<String>,
    /// Whether it is the answering registry itself.
    pub is_coordinating: bool,
    /// When the registry last changed it, milliseconds since the Unix epoch.
    pub last_updated: Option<i64>,
    /// When the instance last changed itself: the newer registration wins.
    pub last_dirty: Option<i64>,
    /// What last happened to it.
    pub action: Option<Action>,
    /// Amazon's scaling group.
    pub asg_name: Option<String>,
    /// Fields nobody here knows, given back as they came.
    pub extra: BTreeMap<String, Value>,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            host_name: String::new(),
            app: String::new(),
            ip_addr: String::new(),
            sid: None,
            status: InstanceStatus::Up,
            overridden_status: InstanceStatus::Unknown,
            port: PortEntry { number: 7001, enabled: true },
            secure_port: PortEntry { number: 7002, enabled: false },
            country_id: 1,
            data_center: None,
            lease: None,
            metadata: BTreeMap::new(),
            app_group_name: None,
            home_page_url: None,
            status_page_url: None,
            health_check_url: None,
            secure_health_check_url: None,
            vip_address: None,
            secure_vip_address: None,
            is_coordinating: false,
            last_updated: None,
            last_dirty: None,
            action: None,
            asg_name: None,
            extra: BTreeMap::new(),
        }
    }
}

impl Instance {
    /// What it is known by within its application (`InstanceInfo.getId`): its instance id, else
    /// Amazon's, else the host name.
    pub fn id(&self) -> &str {
        let amazon = self
            .data_center
            .as_ref()
            .filter(|center| center.name == DataCenterName::Amazon)
            .and_then(|center| center.metadata.get("instance-id"));
        match (self.instance_id.as_str(), amazon) {
            ("", Some(id)) if !id.is_empty() => id,
            ("", _) => &self.host_name,
            (id, _) => id,
        }
    }

    /// When the instance last changed itself; `now` where it does not say.
    pub fn last_dirty_or(&self, now: Timestamp) -> i64 {
        self.last_dirty.unwrap_or(now.as_millis())
    }
}

/// An application and its instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Application {
    /// Its name, in capitals.
    pub name: String,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// What a registry lists: everything, or what changed of late.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applications {
    /// A number that grows; consumers do not compare it.
    pub version: i64,
    /// [`Applications::hash_code`] of everything the registry has, also in a delta.
    pub hash_code: String,
    /// Its applications.
    pub applications: Vec<Application>,
}

impl Applications {
    /// The number of instances of each status, in alphabetical order: `DOWN_1_UP_2_`
    /// (`Applications.getReconcileHashCode`). A consumer that applied a delta compares its own with
    /// the registry's, and fetches everything if they differ.
    pub fn hash_code<'a>(instances: impl Iterator<Item = &'a Instance>) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for instance in instances {
            *counts.entry(instance.status.as_str()).or_default() += 1;
        }
        counts.iter().map(|(status, count)| format!("{status}_{count}_")).collect()
    }

    /// All instances of all applications.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.applications.iter().flat_map(|application| &application.instances)
    }
}
