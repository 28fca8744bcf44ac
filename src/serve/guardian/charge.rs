//! What a guardian is told, and in which form it travels.
//!
//! One JSON document a line, over a pipe that nobody else has: registry passwords are among it, which
//! a command line would show to every user of the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{LogSettings, Settings};
use crate::model::{NodeName, PortRange, ProcessIdentity, RegistryUrl};
use crate::store::Location;

/// Everything that the cleanup of one server needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Who is watched.
    pub(super) server: ProcessIdentity,
    pub(super) database_url: String,
    node: String,
    port_range: String,
    /// How long other writers are waited for.
    pub(super) patience: Duration,
    /// With credentials.
    registries: Vec<String>,
    pub(super) registry_ca: Option<PathBuf>,
    /// A demo's directory, which is to go with it.
    pub(super) scratch: Option<PathBuf>,
    /// Where a guardian logs; nowhere where the server has no file.
    pub(super) log: LogSettings,
}

impl Charge {
    /// The cleanup of the process `server`, which serves by these settings.
    pub fn new(settings: &Settings, server: ProcessIdentity) -> Self {
        Self {
            server,
            database_url: settings.database_url.clone(),
            node: settings.node_name.to_string(),
            port_range: settings.port_range.to_string(),
            patience: settings.timeout,
            registries: settings.eureka.urls.iter().map(RegistryUrl::with_credentials).collect(),
            registry_ca: settings.eureka.ca_file.clone(),
            scratch: None,
            log: settings.serve.log.clone(),
        }
    }

    /// The same for a server that has made a directory of its own.
    pub(in crate::serve) fn with_scratch(self, scratch: Option<PathBuf>) -> Self {
        Self { scratch, ..self }
    }

    /// Whether the database and the directory of the log are still there.
    pub fn is_left(&self) -> bool {
        let directory = self.log.file.as_deref().and_then(Path::parent);
        let is_gone = |of: &Path| !of.as_os_str().is_empty() && !of.is_dir();
        Location::from_url(&self.database_url).is_ok_and(|location| location.exists())
            && !directory.is_some_and(is_gone)
    }

    /// Where a guardian logs.
    pub fn log(&self) -> &LogSettings {
        &self.log
    }

    /// The names as the model has them; `None` in a charge that no server of this build wrote.
    pub(super) fn names(&self) -> Option<(NodeName, PortRange)> {
        Some((self.node.parse().ok()?, self.port_range.parse().ok()?))
    }

    pub(super) fn registries(&self) -> Vec<RegistryUrl> {
        self.registries.iter().filter_map(|url| RegistryUrl::parse(url).ok()).collect()
    }
}

/// What a server says to its guardian.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Word {
    /// This is to be done if I die.
    Charge(Box<Charge>),
    /// All is done.
    Goodbye,
}

impl Word {
    /// The line that is sent.
    pub(super) fn line(&self) -> Vec<u8> {
        // Strings and numbers are written without fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Reads a line without its end; `None` for what this build does not know.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Key, Surroundings};

    #[test]
    fn a_charge_arrives_as_it_was_sent_with_its_passwords_and_nowhere_else() {
        let around = Surroundings {
            env: Box::new(|_| None),
            working_dir: "/".into(),
            user: None,
            home_of: |_| None,
            cpus: 1,
        };
        let mut flags = Flags::default();
        flags.set(Key::DatabaseUrl, "sqlite:///数据/a.db");
        flags.add(Key::EurekaUrls, "https://ann:s3%40cret%2F@a:8761/x");
        let settings = Settings::resolve(&flags, &around).unwrap_or_else(|e| panic!("{e:?}"));
        let server = ProcessIdentity {
            boot_id: "b".into(),
            pid_namespace: u64::MAX,
            pid: 42,
            start_time: 7,
        };
        let charge = Charge::new(&settings, server);
        let line = Word::Charge(Box::new(charge.clone())).line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let Some(Word::Charge(read)) = Word::read(&line) else { panic!("not read") };
        assert!(*read == charge && read.names().is_some());
        let registries = read.registries();
        let login = registries[0].credentials().map(|c| (c.username.as_str(), c.password.as_str()));
        assert_eq!(login, Some(("ann", "s3@cret/")));
        assert_eq!(registries, settings.eureka.urls);
        assert!(Word::read(&Word::Goodbye.line()) == Some(Word::Goodbye));
        assert!(Word::read(b"{\"later\":1}").is_none());
    }
}
