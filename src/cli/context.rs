//! What every command that works with a server or a database stands on.

use super::backend::{Backend, Need, Reach};
use super::render::Output;
use crate::config::Settings;
use crate::model::Fault;
use crate::text;

/// The settings and where results go.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) output: &'a Output,
}

impl Context<'_> {
    /// Whom to work with; what there is to know about it is said at once.
    pub(super) async fn reach(&self, need: Need) -> Result<Backend, Fault> {
        let reached = Reach::new(self.settings)?.reach(need).await?;
        for note in &reached.notes {
            self.output.note(note);
        }
        let source = match &reached.backend {
            Backend::Server(client) => {
                text::cli::detail_server(client.server().url.as_deref().unwrap_or("-"))
            }
            Backend::Direct(_) => text::cli::detail_database(&self.settings.database_url),
        };
        self.output.detail(&source);
        Ok(reached.backend)
    }

    /// The same for a command that looks again and again.
    pub(super) async fn reach_quietly(&self, need: Need) -> Result<Backend, Fault> {
        Ok(Reach::new(self.settings)?.reach(need).await?.backend)
    }
}
