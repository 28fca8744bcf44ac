//! The server's side: starts the guardian, gives it its charge, starts it again if it dies first, and
//! says goodbye.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::charge::{Charge, Word};
use crate::host::{self, MANAGER_VARIABLES};
use crate::lifecycle::StopWatch;
use crate::model::GuardianView;
use crate::text::{self, Lang, Message};

/// The hidden first word of the command line that makes this program a guardian.
pub const GUARDIAN: &str = "__guardian";

/// How long the end of a server waits for that of its guardian, which takes a few milliseconds; one
/// that is stuck ends by itself.
const GOODBYE: Duration = Duration::from_millis(200);

/// Before a guardian that died is started again; it doubles with each that does not live long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A guardian that lived so long did not die of what its start would meet again.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Who guards a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// A guardian of its own.
    ByChild,
    /// The process that started it, by its pid.
    ByParent(u32),
    /// Nobody.
    ByNobody,
}

/// The guardian as its server has it. Cheap to clone; when the last clone goes without a goodbye, the
/// guardian takes the server for dead.
#[derive(Clone)]
pub(in crate::serve) struct Guardian(Arc<Inner>);

struct Inner {
    /// `None` where there is nothing to keep.
    charge: Option<Charge>,
    state: Mutex<State>,
    /// Told when a guardian has ended.
    ended: watch::Sender<bool>,
}

struct State {
    view: GuardianView,
    /// The only writing end there is.
    pipe: Option<ChildStdin>,
    /// Until somebody waits for it.
    child: Option<Child>,
    /// Why there is none, where one should be.
    failure: Option<String>,
    /// Goodbye was said; there will not be another one.
    is_over: bool,
}

impl Guardian {
    /// Starts a guardian with `charge`, if the server is to have one of its own. One that cannot be
    /// started is tried again by [`Guardian::keep`], and needs a person's attention until then.
    pub(in crate::serve) fn start(guarded: Guarded, charge: impl FnOnce() -> Charge) -> Self {
        let (charge, view) = match guarded {
            Guarded::ByChild => (Some(charge()), GuardianView::RESTARTING),
            Guarded::ByParent(pid) => (None, GuardianView::watching(pid)),
            Guarded::ByNobody => (None, GuardianView::OFF),
        };
        let state = State { view, pipe: None, child: None, failure: None, is_over: false };
        let state = Mutex::new(state);
        let guardian = Self(Arc::new(Inner { charge, state, ended: watch::Sender::new(false) }));
        guardian.start_one();
        guardian
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guardian now.
    pub(in crate::serve) fn view(&self) -> GuardianView {
        self.state().view
    }

    /// What a person has to know: that there is none.
    pub(in crate::serve) fn attention(&self) -> Option<Message> {
        let state = self.state();
        let failure = state.failure.as_deref()?;
        Some(text::guardian::guardian_missing(failure))
    }

    fn start_one(&self) {
        let Some(charge) = &self.0.charge else { return };
        // Held over the start, so that no goodbye comes between: it would reach no guardian.
        let mut state = self.state();
        if state.is_over {
            return;
        }
        match spawn(charge) {
            Ok((child, pipe)) => {
                state.view = GuardianView::watching(child.id());
                (state.child, state.pipe, state.failure) = (Some(child), Some(pipe), None);
                self.0.ended.send_replace(false);
            }
            Err(error) => {
                tracing::warn!(%error, "the guardian could not be started");
                state.view = GuardianView::RESTARTING;
                (state.child, state.pipe) = (None, None);
                state.failure = Some(error.to_string());
            }
        }
    }

    /// Waits for the guardian, so that it is never a zombie, and starts it again while the server is
    /// not stopping.
    pub(in crate::serve) async fn keep(self, lang: Lang, mut stop: StopWatch) {
        if self.0.charge.is_none() {
            return;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let (child, begun) = (self.state().child.take(), Instant::now());
            if let Some(child) = child {
                let (waiter, told) = (self.clone(), self.0.ended.subscribe());
                // Goes on when this task is dropped: the last guardian ends after it.
                tokio::task::spawn_blocking(move || waiter.wait_for(child));
                if !until_ended(told).await || self.state().is_over {
                    return;
                }
                if let Some(reason) = &self.state().failure {
                    let line = text::guardian::guardian_ended(reason);
                    tracing::warn!("{}", line.render(lang));
                }
            }
            if begun.elapsed() >= LONG_LIFE {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
            self.start_one();
        }
    }

    /// Blocks until that guardian has ended.
    fn wait_for(&self, mut child: Child) {
        let status = child.wait();
        let mut state = self.state();
        state.pipe = None;
        if !state.is_over {
            state.view = GuardianView::RESTARTING;
            state.failure = Some(match status {
                Ok(status) => describe(status),
                Err(error) => error.to_string(),
            });
        }
        drop(state);
        self.0.ended.send_replace(true);
    }

    /// Says that everything was given back, and waits for the guardian's end for a moment.
    pub(in crate::serve) async fn goodbye(&self) {
        let pipe = {
            let mut state = self.state();
            state.is_over = true;
            state.pipe.take()
        };
        let Some(mut pipe) = pipe else { return };
        // One that died meanwhile has nothing to do either.
        pipe.write_all(&Word::Goodbye.line()).ok();
        drop(pipe);
        if let Some(child) = self.state().child.take() {
            // Nobody waits for it yet: the server never came as far.
            let waiter = self.clone();
            tokio::task::spawn_blocking(move || waiter.wait_for(child));
        }
        let told = self.0.ended.subscribe();
        // Late or not, it ends without the server.
        let _ = tokio::time::timeout(GOODBYE, until_ended(told)).await;
    }
}

/// Whether it was told of an end, rather than that nobody will tell.
async fn until_ended(mut told: watch::Receiver<bool>) -> bool {
    told.wait_for(|ended| *ended).await.is_ok()
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

/// Starts a guardian and tells it its charge.
fn spawn(charge: &Charge) -> io::Result<(Child, ChildStdin)> {
    let mut command = Command::new(own_program()?);
    // The pid is there for whoever looks at the list of processes.
    command.args([OsString::from(GUARDIAN), charge.server.pid.to_string().into()]);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "pmctl");
    for variable in MANAGER_VARIABLES {
        command.env_remove(variable);
    }
    // What reads the server's output must not wait for the guardian.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = host::start_apart(&mut command)?;
    let told = match child.stdin.take() {
        // Shorter than any pipe's buffer: nothing is waited for.
        Some(mut pipe) => {
            pipe.write_all(&Word::Charge(Box::new(charge.clone())).line()).map(|()| pipe)
        }
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    match told {
        Ok(pipe) => Ok((child, pipe)),
        Err(error) => {
            // It hears the end of its pipe and goes; this only makes sure of it.
            child.kill().ok();
            child.wait().ok();
            Err(error)
        }
    }
}

/// This very program, to be started once more, also where its file was replaced by another version meanwhile.
///
/// # Errors
/// Where the system does not say where it is.
pub fn own_program() -> io::Result<std::path::PathBuf> {
    let linked = std::path::Path::new("/proc/self/exe");
    match cfg!(target_os = "linux") && linked.exists() {
        true => Ok(linked.to_owned()),
        false => std::env::current_exe(),
    }
}
