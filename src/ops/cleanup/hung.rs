//! A server that holds its lock, lives, and does not answer.

use std::time::Duration;

use super::report;
use crate::model::{
    Actor, CleanupNode, CleanupReport, CleanupRequest, EndSignal, EventAction, Fault, FaultKind,
    ProcessIdentity, Selection,
};
use crate::ops::context::{Ops, done};
use crate::ops::ending::{EndFailure, end_process};
use crate::ops::faults::store_fault;
use crate::ops::holders::ask;
use crate::text;

/// Beyond the bound of its shutdown, for what follows it.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// The bound of the shutdown of a server that did not say it.
const USUAL_BOUND: Duration = Duration::from_secs(30);

/// A server that was found hung: whoever says so has seen that it holds the owner's lock, lives and
/// left three questions in at least 10 s without any answer.
#[derive(Clone, Debug)]
pub struct HungServer {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// For how long it has been silent, at least.
    pub silent_for: Duration,
    /// The bound of its shutdown, if it said it.
    pub shutdown_timeout: Option<Duration>,
}

impl HungServer {
    fn grace(&self) -> Duration {
        self.shutdown_timeout.unwrap_or(USUAL_BOUND) + LAST_BREATH
    }
}

impl Ops {
    /// The report of a hung server that is left alone, or in a dry run with force what would be done
    /// to it: since when it is silent, how many clients are connected to its services.
    pub async fn explain_hung(
        &self,
        hung: &HungServer,
        request: &CleanupRequest,
    ) -> Result<CleanupReport, Fault> {
        let services = self.select(&Selection::All).await?;
        let ports = services.iter().map(|service| service.port).collect();
        let open = ask(self.machine(), move |machine| machine.connections(&ports)).await?;
        let open = open.map_or_else(|| "?".to_owned(), |of| of.values().sum::<u64>().to_string());
        let pid = hung.identity.pid;
        let silent_for = humantime::format_duration(whole(hung.silent_for));
        let grace = humantime::format_duration(whole(hung.grace()));
        let node = match request.force {
            true => CleanupNode {
                pid,
                message: text::cleanup::server_hung_would_end(pid, silent_for, open, grace),
                fault: None,
            },
            false => {
                let message = text::cleanup::server_hung(pid, silent_for, open, grace);
                let fault = Fault::new(FaultKind::LeftAlone, message.clone());
                CleanupNode { pid, message, fault: Some(fault) }
            }
        };
        let message = node.message.clone();
        let report = report::of(self, request, vec![node], Vec::new(), Vec::new());
        Ok(CleanupReport { message, ..report })
    }

    /// Ends a hung server: `TERM`, `CONT`, the bound of its own shutdown, `KILL`. Its lock is free
    /// then, and its rows are for [`Ops::cleanup`] to repair.
    ///
    /// # Errors
    /// `LeftAlone` for one that must never be ended, `Denied` without the right to, `Internal` where
    /// it outlives `KILL`.
    pub async fn end_hung(&self, hung: &HungServer) -> Result<CleanupNode, Fault> {
        let pid = hung.identity.pid;
        let is_protected = ask(self.machine(), move |machine| {
            machine.is_untouchable(pid) || machine.own_line().contains(&pid)
        });
        if is_protected.await? {
            let message = text::cleanup::server_hung_protected(pid);
            return Err(Fault::new(FaultKind::LeftAlone, message));
        }
        let message = match end_process(self.machine(), &hung.identity, None, hung.grace()).await {
            Ok(ended) => {
                let took = humantime::format_duration(whole(ended.took));
                let signal = ended.signal.map_or("TerminateProcess", EndSignal::as_str);
                text::cleanup::server_hung_ended(pid, signal, took)
            }
            Err(EndFailure::Gone | EndFailure::LetGo { .. }) => {
                text::cleanup::server_hung_gone(pid)
            }
            Err(error @ EndFailure::Denied) => {
                let message = text::cleanup::server_hung_denied(pid);
                return Err(Fault::caused(FaultKind::Denied, message, &error));
            }
            Err(error) => {
                let message = text::cleanup::server_hung_not_ended(pid);
                return Err(Fault::caused(FaultKind::Internal, message, &error));
            }
        };
        Ok(CleanupNode { pid, message, fault: None })
    }

    /// Notes in the record that a hung server was ended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn record_hung(&self, ended: &CleanupNode, by: &Actor) -> Result<(), Fault> {
        let Some(store) = self.reading_store() else { return Ok(()) };
        let detail = ended.message.clone();
        let event = done(self.now(), EventAction::ServerEnded, self.node(), by, detail);
        store.append_events(vec![event]).await.map_err(store_fault)
    }
}

/// A person reads it: to the millisecond below a second, else to the second.
fn whole(duration: Duration) -> Duration {
    match duration.as_secs() {
        0 => Duration::from_millis(duration.as_millis().try_into().unwrap_or(u64::MAX)),
        secs => Duration::from_secs(secs),
    }
}
