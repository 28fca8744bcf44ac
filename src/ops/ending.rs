//! Ending one process: asked first, then made to. Only a pinned process is ever signalled.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine::{Machine, PinnedProcess};
use crate::host::PinError;
use crate::model::{EndSignal, Port, ProcessIdentity};

/// How long the kernel may take to end a process after `KILL`. One that waits for a device can
/// outlast it.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Waiting is done in pieces of this length, so that whoever is no longer interested leaves no
/// thread behind that waits out a long grace.
const PIECE: Duration = Duration::from_millis(200);

/// A process that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The last signal it took; `None` on systems without signals.
    pub(super) signal: Option<EndSignal>,
    /// From the first signal to its end.
    pub(super) took: Duration,
}

/// Why a process did not end, or was not asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndFailure {
    /// It had ended before, or its pid is another process' now: nothing was signalled.
    #[error("no such process")]
    Gone,
    /// It has let go of what it was to be ended for. It was not signalled, or not again: `after` is
    /// the last signal it was sent.
    #[error("no longer holds it")]
    LetGo {
        /// The last signal it was sent.
        after: Option<EndSignal>,
    },
    /// This user may not signal it.
    #[error("not permitted")]
    Denied,
    /// It still runs, although it was sent `KILL`.
    #[error("still runs after KILL")]
    Survived,
    /// The system offers no way to be sure of the process: nothing was signalled.
    #[error("cannot be sure of a process on this system")]
    Unsupported(#[source] io::Error),
    /// Anything else.
    #[error("cannot signal")]
    Other(#[source] io::Error),
    /// The runtime ends.
    #[error("cut short")]
    CutShort,
}

impl From<PinError> for EndFailure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Gone => Self::Gone,
            PinError::Denied => Self::Denied,
            PinError::Unsupported(error) => Self::Unsupported(error),
            PinError::Other(error) => Self::Other(error),
        }
    }
}

/// Ends the process: `signal` (`None`: `TERM`, or the one way Windows has), up to `grace` for it to
/// end, then `KILL`. One that a signal had stopped is let go on, so that it can end by itself.
/// `EndSignal::Kill` has no grace.
pub(super) async fn end_process(
    machine: &Arc<dyn Machine>,
    identity: &ProcessIdentity,
    signal: Option<EndSignal>,
    grace: Duration,
) -> Result<Ended, EndFailure> {
    end_holder(machine, identity, &[], signal, grace).await
}

/// As [`end_process`], but before each signal the process must still listen on one of `ports`; of
/// none, if there are none.
pub(super) async fn end_holder(
    machine: &Arc<dyn Machine>,
    identity: &ProcessIdentity,
    ports: &[Port],
    signal: Option<EndSignal>,
    grace: Duration,
) -> Result<Ended, EndFailure> {
    let begun = Instant::now();
    let (machine, identity) = (machine.clone(), identity.clone());
    let pinned = off_runtime(move || machine.pin(&identity)).await??;
    let pinned: Arc<dyn PinnedProcess> = pinned.into();
    let first = match signal {
        None if cfg!(windows) => None,
        other => Some(other.unwrap_or(EndSignal::Term)),
    };
    send(&pinned, ports, signal, None).await?;
    let is_final = matches!(first, None | Some(EndSignal::Kill));
    if wait(&pinned, if is_final { AFTER_KILL } else { grace }).await? {
        return Ok(Ended { signal: first, took: begun.elapsed() });
    }
    if is_final {
        return Err(EndFailure::Survived);
    }
    match send(&pinned, ports, Some(EndSignal::Kill), first).await {
        // It ended between the last look and the signal.
        Err(EndFailure::Gone) => return Ok(Ended { signal: first, took: begun.elapsed() }),
        other => other?,
    }
    match wait(&pinned, AFTER_KILL).await? {
        true => Ok(Ended { signal: Some(EndSignal::Kill), took: begun.elapsed() }),
        false => Err(EndFailure::Survived),
    }
}

/// Sends the signal if the process still holds what it is to be ended for. `before` is the last
/// signal it was sent.
async fn send(
    pinned: &Arc<dyn PinnedProcess>,
    ports: &[Port],
    signal: Option<EndSignal>,
    before: Option<EndSignal>,
) -> Result<(), EndFailure> {
    let (pinned, ports) = (pinned.clone(), ports.to_vec());
    off_runtime(move || {
        if !ports.is_empty() && !ports.iter().any(|port| pinned.listens_on(*port)) {
            return match pinned.wait(Duration::ZERO) {
                true => Err(EndFailure::Gone),
                false => Err(EndFailure::LetGo { after: before }),
            };
        }
        pinned.end(signal)?;
        // A stopped process keeps the signal until it goes on; that it cannot be resumed is no
        // reason not to wait for its end.
        if signal != Some(EndSignal::Kill)
            && let Err(error) = pinned.resume()
        {
            tracing::debug!(%error, "not resumed");
        }
        Ok(())
    })
    .await?
}

async fn wait(pinned: &Arc<dyn PinnedProcess>, at_most: Duration) -> Result<bool, EndFailure> {
    let begun = Instant::now();
    loop {
        let left = at_most.saturating_sub(begun.elapsed());
        let pinned = pinned.clone();
        if off_runtime(move || pinned.wait(left.min(PIECE))).await? {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EndFailure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| EndFailure::CutShort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::made_up::{MadeUp, Nature, OWN_UID, identity, process};

    const SHORT: Duration = Duration::from_millis(10);

    fn on(machine: &MadeUp) -> Arc<dyn Machine> {
        Arc::new(machine.clone())
    }

    #[tokio::test]
    #[cfg_attr(windows, ignore = "there is one way to end a process, and nobody is asked first")]
    async fn a_process_is_asked_first_and_killed_only_if_it_does_not_hear() {
        let machine = MadeUp::with([process(10, &[]), process(11, &[]).that(Nature::Stubborn)]);
        let polite = end_process(&on(&machine), &identity(10, 1), None, SHORT).await.unwrap();
        assert_eq!(polite.signal, Some(EndSignal::Term));
        let stubborn = end_process(&on(&machine), &identity(11, 1), None, SHORT).await.unwrap();
        assert_eq!(stubborn.signal, Some(EndSignal::Kill));
        let sent = [(10, None), (11, None), (11, Some(EndSignal::Kill))];
        assert_eq!(machine.signals(), sent);
    }

    #[tokio::test]
    async fn kill_that_is_asked_for_has_no_grace_and_is_sent_once() {
        let machine = MadeUp::with([process(11, &[]).that(Nature::Stubborn)]);
        let hour = Duration::from_secs(3600);
        let kill = Some(EndSignal::Kill);
        let ended = end_process(&on(&machine), &identity(11, 1), kill, hour).await.unwrap();
        assert_eq!(ended.signal, kill);
        assert_eq!(machine.signals(), [(11, kill)]);
    }

    #[tokio::test]
    async fn nobody_else_is_signalled_in_place_of_who_was_meant() {
        let machine = MadeUp::with([process(10, &[]).started_at(2), process(11, &[]).of_user(0)]);
        let gone = end_process(&on(&machine), &identity(10, 1), None, SHORT).await;
        assert!(matches!(gone, Err(EndFailure::Gone)), "{gone:?}");
        let denied = end_process(&on(&machine), &identity(11, 1), None, SHORT).await;
        assert!(matches!(denied, Err(EndFailure::Denied)), "{denied:?}");
        assert_eq!(machine.signals(), []);
        assert_ne!(OWN_UID, 0);
    }

    #[tokio::test]
    #[cfg(unix)]
    async fn a_real_process_that_is_stopped_goes_on_to_end_by_term() {
        use crate::host::{Holder, Holding};
        use crate::ops::machine::ThisMachine;
        use std::os::fd::OwnedFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
        // The child alone has the socket then, as its standard input.
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .stdin(OwnedFd::from(listener))
            .spawn()
            .unwrap();
        let pid = child.id();
        let stopped = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status();
        assert!(stopped.unwrap().success());
        let machine: Arc<dyn Machine> = Arc::new(ThisMachine);
        let found = machine.holders(&[port].into(), &[]).unwrap().remove(&port);
        let Some(Holding::Held(holders)) = found else { panic!("{found:?}") };
        let holder: &Holder = holders.iter().find(|holder| holder.identity.pid == pid).unwrap();
        let minute = Duration::from_secs(60);
        let ended = end_holder(&machine, &holder.identity, &[port], None, minute).await;
        child.wait().unwrap();
        assert_eq!(ended.unwrap().signal, Some(EndSignal::Term));
        let free = machine.holders(&[port].into(), &[]).unwrap().remove(&port);
        assert_eq!(free, Some(Holding::Free));
    }
}
