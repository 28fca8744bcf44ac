//! Who is told how the server fares: the person at the terminal, through `cli`.

use std::path::PathBuf;

use crate::model::{Port, RegistryUrl, ServerView, ServiceName, ShutdownProgress};
use crate::text::Message;

/// What a demo offers to try.
#[derive(Clone, Debug)]
pub struct DemoView {
    /// Its services with the ports they got.
    pub services: Vec<(ServiceName, Port)>,
    /// A service and the target it can be switched to.
    pub switch: (ServiceName, String),
    /// Where its services are announced.
    pub registry: Option<RegistryUrl>,
    /// What opens its server, where that does not know its own user by the connection and the
    /// database has no place in which a command would look.
    pub token_file: Option<PathBuf>,
    /// What was done differently because something was in the way.
    pub notes: Vec<Message>,
}

/// The server is ready.
#[derive(Clone, Debug)]
pub struct ReadyView {
    /// Who and where it is.
    pub server: ServerView,
    /// Services that run.
    pub running: usize,
    /// Services that are wanted and could not be started.
    pub failed: usize,
    /// What needs a person.
    pub attention: Vec<Message>,
    /// What the demo set up.
    pub demo: Option<DemoView>,
}

/// Hears of the server's life. Called from the runtime: must not block.
pub trait Observer: Send + Sync {
    /// Everything vital stands.
    fn ready(&self, view: &ReadyView);

    /// A shutdown came a step further.
    fn shutdown(&self, progress: &ShutdownProgress);
}
