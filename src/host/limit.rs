//! The limit of open file descriptors.

/// The limit of open file descriptors of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// Before it was raised.
    pub before: u64,
    /// In force now.
    pub now: u64,
}

/// Raises the soft limit to the hard one, at most to 1,048,576. `None` where there is no such limit.
pub fn raise_descriptor_limit() -> Option<DescriptorLimit> {
    todo!()
}
