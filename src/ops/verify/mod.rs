//! `verify`: the proof that nothing is left, or what is.
//!
//! Everything is looked at and nothing is changed. What cannot be told (a registry that does not
//! answer, a holder that is not visible) is said and stands against the proof. Whose a port is is
//! judged by the rules of `cleanup`, so that what this finds left is what that puts right.

mod findings;
mod registry;
mod servers;
mod services;

use self::findings::Findings;
use super::context::Ops;
use crate::model::{Fault, VerifyReport};
use crate::text;

impl Ops {
    /// Looks at the ports of this node name, and at the servers, rows, registrations and marked
    /// instances of the whole database.
    ///
    /// # Errors
    /// What the store or this machine say; a registry that does not answer is none.
    pub async fn verify(&self) -> Result<VerifyReport, Fault> {
        let mut findings = Findings::default();
        match self.reading_store() {
            Some(store) => {
                let servers = servers::look(self, store, &mut findings).await?;
                services::look(self, store, &servers, &mut findings).await?;
                registry::look(self, store, &servers, &mut findings).await?;
            }
            None => {
                servers::look_at_owner(self, &mut findings);
                servers::look_for_traces(self, &mut findings)?;
            }
        }
        let (message, counts, items) = findings.into_parts();
        let server = self.server_view();
        let report = VerifyReport {
            source: self.source(),
            checked_at: self.now(),
            database: server.database,
            database_uuid: self.database_uuid().map(str::to_owned),
            node: server.node,
            message,
            counts,
            items,
        };
        Ok(match report.database_uuid.is_none() && report.is_clean() {
            true => VerifyReport {
                message: text::verify::verify_no_database(&report.database),
                ..report
            },
            false => report,
        })
    }
}
