//! The limit of open file descriptors.

/// Above this the kernel's tables cost more than any number of connections here is worth.
#[cfg(unix)]
const MOST: u64 = 1 << 20;

/// The limit of open file descriptors of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// Before it was raised.
    pub before: u64,
    /// In force now.
    pub now: u64,
}

/// Raises the soft limit to the hard one, at most to 1,048,576; never lowers it. `None` where there
/// is no such limit.
#[cfg(unix)]
pub fn raise_descriptor_limit() -> Option<DescriptorLimit> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(MOST);
    // macOS refuses more than `kern.maxfilesperproc`, whatever the hard limit says.
    for now in [wanted, 1 << 16, 24_576, 10_240] {
        if now <= before {
            break;
        }
        let raised = Rlimit { current: Some(now), maximum: limit.maximum };
        if now <= wanted && setrlimit(Resource::Nofile, raised).is_ok() {
            return Some(DescriptorLimit { before, now });
        }
    }
    Some(DescriptorLimit { before, now: before })
}

/// Raises the soft limit to the hard one. `None`: there is no such limit here.
#[cfg(not(unix))]
pub fn raise_descriptor_limit() -> Option<DescriptorLimit> {
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_once_and_then_stays() {
        let first = raise_descriptor_limit().unwrap();
        assert!(first.now >= first.before);
        let again = raise_descriptor_limit().unwrap();
        assert_eq!(again, DescriptorLimit { before: first.now, now: first.now });
    }
}
