//! The two locks of a database.

use std::time::Duration;

use crate::model::{NodeName, Phase, ProcessIdentity};

use super::{Location, StoreError};

/// What the holder of an owner's lock is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HolderKind {
    /// A server.
    Serve,
    /// A clean-up.
    Repair,
    /// Bringing the schema up to date.
    Migration,
}

/// Who holds an owner's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// What it does.
    pub kind: HolderKind,
    /// Who it is.
    pub identity: ProcessIdentity,
    /// For which node name.
    pub node: NodeName,
    /// Control URL, once there is one.
    pub url: Option<String>,
    /// How far a server is.
    pub phase: Option<Phase>,
}

/// The owner's lock, held; dropping it releases it.
#[derive(Debug)]
pub struct OwnerLock {
    holder: LockHolder,
}

/// What came of trying to get the owner's lock.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Lock(OwnerLock),
    /// Somebody has it; who, if that is known.
    Held(Option<LockHolder>),
}

/// Whether somebody holds an owner's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Free,
    /// Somebody; who, if that is known.
    Held(Option<LockHolder>),
}

/// Whether somebody holds the owner's lock. Creates nothing.
pub fn owner(
    location: &Location,
    node: &NodeName,
    alive: impl Fn(&ProcessIdentity) -> bool,
) -> Result<Owner, StoreError> {
    let _ = (location, node, alive);
    todo!()
}

impl OwnerLock {
    /// Tries to get the lock.
    pub fn try_acquire(
        location: &Location,
        holder: LockHolder,
        alive: impl Fn(&ProcessIdentity) -> bool,
    ) -> Result<Acquired, StoreError> {
        let _ = (location, holder, alive);
        todo!()
    }
    /// Who we said we are.
    pub fn holder(&self) -> &LockHolder {
        &self.holder
    }
    /// Tells the control URL to whoever finds the lock held.
    pub fn set_url(&mut self, url: &str) -> Result<(), StoreError> {
        let _ = url;
        todo!()
    }
    /// Tells how far the server is to whoever finds the lock held.
    pub fn set_phase(&mut self, phase: Phase) -> Result<(), StoreError> {
        let _ = phase;
        todo!()
    }
}

/// The short lock of direct writers, held; dropping it releases it.
#[derive(Debug)]
pub struct WriterLock {}

impl WriterLock {
    /// Waits for the lock at most `timeout`; `StoreError::Busy` after that.
    pub async fn acquire(location: &Location, timeout: Duration) -> Result<Self, StoreError> {
        let _ = (location, timeout);
        todo!()
    }
}
