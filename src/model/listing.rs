//! What a service registry lists, seen from outside.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Success, Timestamp};

/// `eureka apps`: what a registry lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryReport {
    /// Always true.
    pub success: Success,
    /// Base URL of the registry that answered, without credentials.
    pub registry: String,
    /// By name.
    pub applications: Vec<RegistryApplication>,
}

/// One application of [`RegistryReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryApplication {
    /// In capitals.
    pub name: String,
    /// By id.
    pub instances: Vec<RegistryInstance>,
}

/// One instance of [`RegistryApplication`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryInstance {
    /// Unique within the application.
    pub instance_id: String,
    /// `UP`, `DOWN`, `STARTING`, `OUT_OF_SERVICE`, `UNKNOWN`.
    pub status: String,
    /// What an operator set over it; null where nothing is set.
    pub override_status: Option<String>,
    /// Host name consumers are told.
    pub host: String,
    /// IP address consumers are told.
    pub address: String,
    /// Null where it is disabled.
    pub port: Option<u16>,
    /// The TLS port; null where it is disabled.
    pub secure_port: Option<u16>,
    /// When it was registered; null where the registry does not say.
    pub registered: Option<Timestamp>,
    /// How long the registry waits for a renewal, in seconds; null where it does not say.
    pub lease_seconds: Option<u32>,
    /// Free text for consumers.
    pub metadata: BTreeMap<String, String>,
}
