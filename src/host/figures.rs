//! What this process uses.

/// What this process uses; `None` where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_descriptors: Option<u64>,
    /// Processor time so far, user and system together, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// The figures now.
pub fn own_figures() -> ProcessFigures {
    todo!()
}
