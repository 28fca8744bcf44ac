//! The receipt of a verification: what was checked, what was found.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::state::words;
use super::{Access, HolderView, Source, Timestamp, program_only};
use crate::text::Message;

words! {
    /// What a verification looks at.
    VerifySubject {
        /// Processes of servers of the database, whatever their rows say; also who owns it now.
        Process = "process",
        /// Rows of servers: each must say when it ended.
        Node = "node",
        /// Rows of services: each must say that it is stopped.
        Service = "service",
        /// Registered ports.
        Port = "port",
        /// What was written down before a registry was told.
        Registration = "registration",
        /// Instances in a registry that carry the mark of the database; one look for each registry.
        Instance = "instance",
    }
}

words! {
    /// What was found, from the best to the worst.
    Finding {
        /// Nothing.
        Clean = "clean",
        /// The port of a service that is stopped in order, in use by somebody else.
        Elsewhere = "elsewhere",
        /// It belongs to a server that lives.
        Live = "live",
        /// Whether something is left could not be told.
        Unproved = "unproved",
        /// Left by a server that is gone.
        Left = "left",
    }
}

impl Finding {
    /// Whether it stands against the proof that nothing is left.
    pub fn is_against(self) -> bool {
        match self {
            Self::Clean | Self::Elsewhere => false,
            Self::Live | Self::Unproved | Self::Left => true,
        }
    }
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyItem {
    /// What it is.
    pub subject: VerifySubject,
    /// Which: a service, a port, a pid, an instance id, a registry.
    pub name: String,
    /// What was found.
    pub finding: Finding,
    /// One sentence about it; what to do where something is left.
    pub message: Message,
    /// Who listens on the port, where that is visible.
    pub holders: Vec<HolderView>,
}

/// How many of one kind were checked and what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyCount {
    /// Of what.
    pub subject: VerifySubject,
    /// Looked at.
    pub checked: u64,
    /// In use by somebody else, which is in order.
    pub elsewhere: u64,
    /// Of a server that lives.
    pub live: u64,
    /// What could not be told.
    pub unproved: u64,
    /// What is left.
    pub left: u64,
}

/// `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Who looked.
    pub source: Source,
    /// When.
    pub checked_at: Timestamp,
    /// The database's URL.
    pub database: String,
    /// Its UUID; null where there is no database.
    pub database_uuid: Option<String>,
    /// The node name whose ports were looked at; processes, rows and registrations are those of the
    /// whole database.
    pub node: String,
    /// One sentence about all of it.
    pub message: Message,
    /// One for each subject, in their order.
    pub counts: Vec<VerifyCount>,
    /// Services, ports, registrations and registries one by one; of the others those where
    /// something was found.
    pub items: Vec<VerifyItem>,
}

impl VerifyReport {
    /// Whether it is proved that nothing is left.
    pub fn is_clean(&self) -> bool {
        !self.items.iter().any(|item| item.finding.is_against())
    }

    /// The report as a caller of that access may see it.
    pub fn shown_to(mut self, access: Access) -> Self {
        if access < Access::Full {
            for holder in self.items.iter_mut().flat_map(|item| &mut item.holders) {
                holder.command = holder.command.as_deref().map(program_only);
            }
        }
        self
    }
}

impl Serialize for VerifyReport {
    /// With `success`, which is the verdict: a receipt that says otherwise is a failure, with the
    /// `error` and `code` of one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_clean = self.is_clean();
        let failed = (!is_clean).then_some(&self.message);
        let mut receipt = serializer.serialize_struct("VerifyReport", 11)?;
        receipt.serialize_field("success", &is_clean)?;
        match failed {
            Some(message) => {
                receipt.serialize_field("error", &message.to_string())?;
                receipt.serialize_field("code", message.code())?;
            }
            None => {
                receipt.skip_field("error")?;
                receipt.skip_field("code")?;
            }
        }
        receipt.serialize_field("source", &self.source)?;
        receipt.serialize_field("checkedAt", &self.checked_at)?;
        receipt.serialize_field("database", &self.database)?;
        receipt.serialize_field("databaseUuid", &self.database_uuid)?;
        receipt.serialize_field("node", &self.node)?;
        receipt.serialize_field("message", &self.message)?;
        receipt.serialize_field("counts", &self.counts)?;
        receipt.serialize_field("items", &self.items)?;
        receipt.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    fn report(finding: Finding) -> VerifyReport {
        let holder = HolderView {
            pid: 7,
            user: None,
            command: Some("node app.js".into()),
            start_time: None,
            details: None,
        };
        let message = text::verify::port_elsewhere(8080, 7);
        let (subject, name) = (VerifySubject::Port, "8080".to_owned());
        let item = VerifyItem { subject, name, finding, message, holders: vec![holder] };
        VerifyReport {
            source: Source::Database,
            checked_at: Timestamp::from_millis(0),
            database: "sqlite:///x".into(),
            database_uuid: None,
            node: "default".into(),
            message: text::verify::verify_left(1),
            counts: Vec::new(),
            items: vec![item],
        }
    }

    #[test]
    fn success_is_the_verdict_and_a_failure_says_why() {
        for finding in Finding::ALL {
            let document = serde_json::to_value(report(*finding)).unwrap();
            assert_eq!(document["success"], !finding.is_against(), "{document:#}");
            assert_eq!(document.get("code").is_some(), finding.is_against(), "{document:#}");
            assert_eq!(document.get("error").is_some(), finding.is_against(), "{document:#}");
            assert_eq!(document["databaseUuid"], serde_json::Value::Null);
        }
    }

    #[test]
    fn a_reader_sees_no_command_line() {
        let shown = |access| {
            let report = report(Finding::Elsewhere).shown_to(access);
            report.items[0].holders[0].command.clone()
        };
        assert_eq!(shown(Access::Full).as_deref(), Some("node app.js"));
        assert_ne!(shown(Access::Reading).as_deref(), Some("node app.js"));
    }
}
