//! From the JSON form to the nouns: which field means what, and what its absence means.
//!
//! Tolerant where the readers of `EurekaJacksonCodec.java` are, and a little more: numbers and truth
//! values may be strings, a list of one may stand without its brackets, nothing may be null.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::nouns::{
    Action, Application, Applications, DataCenter, DataCenterName, Instance, InstanceStatus,
    LeaseInfo, PortEntry,
};
use super::{Format, WireError, xml};

/// Written by Java beside a map or a data centre, for itself.
const CLASS: &str = "@class";
const EMPTY_MAP: &str = "java.util.Collections$EmptyMap";
/// The text of an element that has attributes, and of a port.
const TEXT: &str = "$";

/// The fields of the document `root`. A JSON document may do without its root.
pub(super) fn fields_of(
    format: Format,
    body: &[u8],
    root: &'static str,
) -> Result<Map<String, Value>, WireError> {
    let wrong = || WireError::WrongRoot { expected: root };
    let found = match format {
        Format::Json => {
            let value: Value = serde_json::from_slice(body).map_err(WireError::NotJson)?;
            let Value::Object(mut fields) = value else { return Err(wrong()) };
            match fields.remove(root) {
                Some(inner) => inner,
                None if root == "instance" && fields.contains_key("hostName") => {
                    Value::Object(fields)
                }
                None => return Err(wrong()),
            }
        }
        Format::Xml => match xml::parse(body)? {
            (name, value) if name == root => value,
            _ => return Err(wrong()),
        },
    };
    match found {
        Value::Object(fields) => Ok(fields),
        other => map(&other).map(Cow::into_owned).ok_or_else(wrong),
    }
}

/// An object, or what an empty element or a null reads as.
fn map(value: &Value) -> Option<Cow<'_, Map<String, Value>>> {
    match value {
        Value::Object(fields) => Some(Cow::Borrowed(fields)),
        Value::Null => Some(Cow::default()),
        Value::String(text) if text.trim().is_empty() => Some(Cow::default()),
        _ => None,
    }
}

/// A list, a list of one without its brackets, or nothing.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().collect(),
        Some(other) => vec![other],
    }
}

fn wrong(field: &str, expected: &'static str) -> WireError {
    WireError::Field { field: field.to_owned(), expected }
}

/// What everything that a registry has comes to; empty where a list does not say.
pub(super) fn hash_code(fields: &Map<String, Value>) -> Result<String, WireError> {
    let read = Fields(fields);
    // XML names are read without the escapes that JSON keeps.
    let hash = read.text("apps__hashcode")?.or(read.text("apps_hashcode")?);
    Ok(hash.unwrap_or_default())
}

pub(super) fn applications(fields: &Map<String, Value>) -> Result<Applications, WireError> {
    let known = Fields(fields);
    let version = known.integer("versions__delta")?.or(known.integer("versions_delta")?);
    let read = list(fields.get("application"))
        .into_iter()
        .map(|value| application(&*map(value).ok_or_else(|| wrong("application", "an object"))?));
    // One that cannot be read says nothing about the others.
    let applications = read.filter_map(Result::ok).collect();
    Ok(Applications { version: version.unwrap_or(-1), hash_code: hash_code(fields)?, applications })
}

pub(super) fn application(fields: &Map<String, Value>) -> Result<Application, WireError> {
    let read = list(fields.get("instance"))
        .into_iter()
        .map(|value| instance(&*map(value).ok_or_else(|| wrong("instance", "an object"))?));
    let (name, mut instances) = (Fields(fields).text("name")?.unwrap_or_default(), Vec::new());
    for instance in read {
        match instance {
            Ok(instance) => instances.push(instance),
            // Whoever registered it did so wrongly; the others of its application are as good.
            Err(error) => tracing::debug!(application = name, %error, "an instance is left out"),
        }
    }
    Ok(Application { name, instances })
}

pub(super) fn instance(fields: &Map<String, Value>) -> Result<Instance, WireError> {
    let defaults = Instance::default();
    let read = Fields(fields);
    let upper = |text: Option<String>| text.map(|text| text.to_uppercase());
    // Both spellings exist (Netflix/eureka issue 1051).
    let overridden = read.status("overriddenStatus")?.or(read.status("overriddenstatus")?);
    Ok(Instance {
        instance_id: read.text("instanceId")?.unwrap_or_default(),
        host_name: read.text("hostName")?.unwrap_or_default(),
        app: upper(read.text("app")?).unwrap_or_default(),
        ip_addr: read.text("ipAddr")?.unwrap_or_default(),
        sid: read.text("sid")?.filter(|sid| sid != "na" && sid != "unknown"),
        status: read.status("status")?.unwrap_or(defaults.status),
        overridden_status: overridden.unwrap_or(defaults.overridden_status),
        port: read.port("port", defaults.port)?,
        secure_port: read.port("securePort", defaults.secure_port)?,
        country_id: read.integer("countryId")?.unwrap_or(defaults.country_id),
        data_center: read.data_center()?,
        lease: read.lease()?,
        metadata: read.metadata("metadata")?,
        app_group_name: upper(read.text("appGroupName")?),
        home_page_url: read.text("homePageUrl")?,
        status_page_url: read.text("statusPageUrl")?,
        health_check_url: read.text("healthCheckUrl")?,
        secure_health_check_url: read.text("secureHealthCheckUrl")?,
        vip_address: read.text("vipAddress")?,
        secure_vip_address: read.text("secureVipAddress")?,
        is_coordinating: read.truth("isCoordinatingDiscoveryServer")?.unwrap_or(false),
        last_updated: read.integer("lastUpdatedTimestamp")?,
        last_dirty: read.integer("lastDirtyTimestamp")?,
        action: read.text("actionType")?.as_deref().and_then(Action::from_word),
        asg_name: read.text("asgName")?,
        extra: fields
            .iter()
            .filter(|(name, value)| !is_known(name) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    })
}

fn is_known(field: &str) -> bool {
    matches!(
        field,
        "instanceId"
            | "hostName"
            | "app"
            | "ipAddr"
            | "sid"
            | "identifyingAttribute"
            | "status"
            | "overriddenStatus"
            | "overriddenstatus"
            | "port"
            | "securePort"
            | "countryId"
            | "dataCenterInfo"
            | "leaseInfo"
            | "metadata"
            | "appGroupName"
            | "homePageUrl"
            | "statusPageUrl"
            | "healthCheckUrl"
            | "secureHealthCheckUrl"
            | "vipAddress"
            | "secureVipAddress"
            | "isCoordinatingDiscoveryServer"
            | "lastUpdatedTimestamp"
            | "lastDirtyTimestamp"
            | "actionType"
            | "asgName"
            | CLASS
    )
}

/// The fields of an object.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, WireError> {
        self.0.get(name).map_or(Ok(None), |value| text(name, value))
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, WireError> {
        let Some(text) = self.text(name)?.filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        text.trim().parse().map(Some).map_err(|_| wrong(name, "a whole number"))
    }

    /// `true` in any case; every other word is false, as Java reads it.
    fn truth(&self, name: &str) -> Result<Option<bool>, WireError> {
        Ok(self.text(name)?.map(|text| text.trim().eq_ignore_ascii_case("true")))
    }

    /// A word that nobody knows is a status that nobody knows (`InstanceStatus.toEnum`).
    fn status(&self, name: &str) -> Result<Option<InstanceStatus>, WireError> {
        let word = self.text(name)?;
        Ok(word.map(|word| InstanceStatus::from_word(&word).unwrap_or(InstanceStatus::Unknown)))
    }

    /// The object under `name`; `None` where there is none.
    fn object(&self, name: &str) -> Result<Option<Cow<'_, Map<String, Value>>>, WireError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => map(value).map(Some).ok_or_else(|| wrong(name, "an object")),
        }
    }

    fn port(&self, name: &str, default: PortEntry) -> Result<PortEntry, WireError> {
        // A bare number is what an element without attributes reads as.
        let fields = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(default),
            Some(Value::Object(fields)) => Cow::Borrowed(fields),
            Some(bare) => Cow::Owned(Map::from_iter([(TEXT.to_owned(), bare.clone())])),
        };
        let read = Fields(&fields);
        let number = read.integer(TEXT).map_err(|_| wrong(name, "a port"))?;
        let number = number.map_or(Ok(default.number), u16::try_from);
        let enabled = read.truth("@enabled")?.unwrap_or(default.enabled);
        Ok(PortEntry { number: number.map_err(|_| wrong(name, "a port"))?, enabled })
    }

    fn data_center(&self) -> Result<Option<DataCenter>, WireError> {
        const FIELD: &str = "dataCenterInfo";
        let Some(fields) = self.object(FIELD)? else { return Ok(None) };
        let read = Fields(&fields);
        let Some(word) = read.text("name")? else { return Ok(None) };
        let name = DataCenterName::from_word(&word)
            .ok_or_else(|| wrong(FIELD, "one named Netflix, Amazon or MyOwn"))?;
        let metadata = match name {
            DataCenterName::Amazon => read.metadata("metadata")?,
            DataCenterName::Netflix | DataCenterName::MyOwn => BTreeMap::new(),
        };
        Ok(Some(DataCenter { name, metadata }))
    }

    fn lease(&self) -> Result<Option<LeaseInfo>, WireError> {
        let Some(fields) = self.object("leaseInfo")? else { return Ok(None) };
        let read = Fields(&fields);
        let defaults = LeaseInfo::default();
        // What is not positive is the default (`LeaseInfo.Builder`).
        let seconds = |name: &str, default: u32| -> Result<u32, WireError> {
            let given = read.integer(name)?.filter(|seconds| *seconds > 0);
            given.map_or(Ok(default), |given| {
                u32::try_from(given).map_err(|_| wrong(name, "a number of seconds"))
            })
        };
        let moment = |name: &str| read.integer(name).map(Option::unwrap_or_default);
        let renewed = read.integer("lastRenewalTimestamp")?;
        Ok(Some(LeaseInfo {
            renewal_interval_secs: seconds(
                "renewalIntervalInSecs",
                defaults.renewal_interval_secs,
            )?,
            duration_secs: seconds("durationInSecs", defaults.duration_secs)?,
            registration_timestamp: moment("registrationTimestamp")?,
            last_renewal_timestamp: renewed.map_or_else(|| moment("renewalTimestamp"), Ok)?,
            eviction_timestamp: moment("evictionTimestamp")?,
            service_up_timestamp: moment("serviceUpTimestamp")?,
        }))
    }

    /// A map of strings, without what Java writes into it for itself.
    fn metadata(&self, name: &str) -> Result<BTreeMap<String, String>, WireError> {
        let Some(fields) = self.object(name)? else { return Ok(BTreeMap::new()) };
        let mut all = BTreeMap::new();
        for (key, value) in fields.iter() {
            let is_java = key == CLASS || (key == "class" && value == EMPTY_MAP);
            if is_java || value.is_null() {
                continue;
            }
            // Something nested would be an error to Java; as text it harms nobody.
            let text = text(key, value).ok().flatten().unwrap_or_else(|| value.to_string());
            all.insert(key.clone(), text);
        }
        Ok(all)
    }
}

/// A value as text: of several elements of one name the last one, of one with attributes its text.
fn text(name: &str, value: &Value) -> Result<Option<String>, WireError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(truth) => Ok(Some(truth.to_string())),
        Value::Array(items) if !items.is_empty() => text(name, &items[items.len() - 1]),
        Value::Object(fields) if is_leaf(fields) => {
            fields.get(TEXT).map_or(Ok(Some(String::new())), |value| text(name, value))
        }
        Value::Array(_) | Value::Object(_) => Err(wrong(name, "text")),
    }
}

/// Whether an object is an element's text with attributes beside it.
fn is_leaf(fields: &Map<String, Value>) -> bool {
    !fields.is_empty() && fields.keys().all(|key| key == TEXT || key.starts_with('@'))
}
