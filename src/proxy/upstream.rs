//! A target made ready to be forwarded to.

use std::path::PathBuf;

use thiserror::Error;

use super::via::ViaId;
use crate::model::{Target, TargetName};
use crate::text::Message;

/// Why a target cannot be made ready.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// Its CA file.
    #[error("read the CA file {path}")]
    CaFile {
        /// As registered.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl UpstreamError {
    /// The sentence about it.
    pub fn message(&self, target: &TargetName) -> Message {
        let _ = target;
        todo!()
    }
}

/// A target made ready: cheap to clone, never changes. Blocking file reads happen in `new` only.
#[derive(Clone, Debug)]
pub struct Upstream;

impl Upstream {
    /// Prepares `target`. Reads its CA file (blocking).
    pub fn new(name: &TargetName, target: &Target, via: &ViaId) -> Result<Self, UpstreamError> {
        let _ = (name, target, via);
        todo!()
    }

    /// The target's name.
    pub fn name(&self) -> &TargetName {
        todo!()
    }

    /// Unique among all upstreams of this process: the key of its pooled connections.
    pub fn generation(&self) -> u64 {
        todo!()
    }
}
