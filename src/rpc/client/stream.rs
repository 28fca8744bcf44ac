//! Streams as their readers see them: signs of life swallowed, silence an error.

use std::time::Duration;

use tonic::Streaming;

use super::error::{Call, ClientError, classify};
use super::wire::Wire;
use crate::model::{
    ActionReport, Actual, CleanupProgress, CleanupReport, Counters, Event, Fault, KillProgress,
    KillReport, ServiceName, ShutdownProgress,
};
use crate::rpc::convert::Word;
use crate::rpc::generated as pb;

/// The messages of a call, each awaited no longer than the silence allowed.
pub(super) struct Updates<T> {
    inner: Streaming<T>,
    wire: Wire,
    call: Call,
    silence: Duration,
}

impl<T> Updates<T> {
    pub(super) fn new(inner: Streaming<T>, wire: Wire, call: Call, silence: Duration) -> Self {
        Self { inner, wire, call, silence }
    }

    /// The next message; `None` when the server has ended the stream in order.
    async fn next(&mut self) -> Result<Option<T>, ClientError> {
        match tokio::time::timeout(self.silence, self.inner.message()).await {
            Ok(message) => {
                message.map_err(|status| classify(&status, &self.wire, self.call.clone()))
            }
            Err(_) => Err(ClientError::Unresponsive { after: self.silence }),
        }
    }
}

/// How far the services of an action are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionProgress {
    /// Those that still exist.
    pub services: Vec<ServiceProgress>,
}

/// How far one service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceProgress {
    /// Name.
    pub name: ServiceName,
    /// What its proxy does.
    pub actual: Actual,
    /// What its proxy counted; `None` where none runs any more.
    pub counters: Option<Counters>,
}

impl TryFrom<pb::ActionProgress> for ActionProgress {
    type Error = Fault;

    fn try_from(sent: pb::ActionProgress) -> Result<Self, Fault> {
        let services = sent.services.into_iter().map(TryInto::try_into);
        Ok(Self { services: services.collect::<Result<_, _>>()? })
    }
}

impl TryFrom<pb::ServiceProgress> for ServiceProgress {
    type Error = Fault;

    fn try_from(sent: pb::ServiceProgress) -> Result<Self, Fault> {
        Ok(Self {
            name: sent.name.parse().map_err(|_| crate::rpc::convert::not_understood("name"))?,
            actual: Actual::read(sent.actual, "actual")?,
            counters: sent.counters.map(TryInto::try_into).transpose()?,
        })
    }
}

/// What one message of a call says that ends with a report.
pub(super) enum Said<P, R> {
    Progress(P),
    Report(R),
    /// Only that the server lives.
    Alive,
}

/// The messages of a call that ends with a report.
pub(super) trait Follow {
    type Progress;
    type Report;

    fn said(self) -> Result<Said<Self::Progress, Self::Report>, Fault>;
}

macro_rules! follow {
    ($($update:ident: $progress:ident, $report:ident, $module:ident;)*) => {$(
        impl Follow for pb::$update {
            type Progress = $progress;
            type Report = $report;

            fn said(self) -> Result<Said<$progress, $report>, Fault> {
                use pb::$module::Update;
                Ok(match self.update {
                    Some(Update::Progress(sign)) => Said::Progress(sign.try_into()?),
                    Some(Update::Report(report)) => Said::Report(report.try_into()?),
                    None => Said::Alive,
                })
            }
        }
    )*};
}

follow! {
    ActionUpdate: ActionProgress, ActionReport, action_update;
    KillUpdate: KillProgress, KillReport, kill_update;
    CleanupUpdate: CleanupProgress, CleanupReport, cleanup_update;
}

/// Follows a call to its report.
pub(super) async fn report<U: Follow>(
    mut updates: Updates<U>,
    mut progress: impl FnMut(U::Progress),
) -> Result<U::Report, ClientError> {
    while let Some(update) = updates.next().await? {
        match update.said()? {
            Said::Report(report) => return Ok(report),
            Said::Progress(sign) => progress(sign),
            Said::Alive => {}
        }
    }
    // The server ended the stream without saying what came of it.
    Err(ClientError::GoingAway)
}

/// Events as they happen. Dropping it ends the call.
pub struct EventStream(Updates<pb::EventUpdate>);

impl EventStream {
    pub(super) fn new(updates: Updates<pb::EventUpdate>) -> Self {
        Self(updates)
    }

    /// The next event; `None` when the server has ended. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Unresponsive`] after a silence as long as the client's timeout.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        while let Some(update) = self.0.next().await? {
            if let Some(event) = update.event {
                return Ok(Some(event.try_into()?));
            }
        }
        Ok(None)
    }
}

/// The steps of a shutdown. Dropping it stops nothing.
pub struct ShutdownStream(Updates<pb::ShutdownUpdate>);

impl ShutdownStream {
    pub(super) fn new(updates: Updates<pb::ShutdownUpdate>) -> Self {
        Self(updates)
    }

    /// The next sign of progress; `None` when the server is about to exit. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Unresponsive`] after a silence as long as the client's timeout;
    /// [`ClientError::GoingAway`] if the server was gone before it could end the stream.
    pub async fn next(&mut self) -> Result<Option<ShutdownProgress>, ClientError> {
        while let Some(update) = self.0.next().await? {
            if let Some(progress) = update.progress {
                return Ok(Some(progress.try_into()?));
            }
        }
        Ok(None)
    }
}
