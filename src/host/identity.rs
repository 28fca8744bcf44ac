//! Who a process is, and whether it still is.

use crate::model::ProcessIdentity;

use super::{HostError, platform};

/// Whether a process that was seen before still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It runs (or is stopped by a signal).
    Alive,
    /// It is gone, or a zombie, which holds nothing any more.
    Dead,
    /// It cannot be told from here: another pid namespace, or hidden from this user.
    Unknown,
}

/// Who this process is.
///
/// # Errors
/// `Read` where the system does not say.
pub fn own_identity() -> Result<ProcessIdentity, HostError> {
    platform::own_identity()
}

/// Who the process with that pid is now.
///
/// # Errors
/// `Read` where there is none, or the system does not say.
pub fn identity_of(pid: u32) -> Result<ProcessIdentity, HostError> {
    platform::identity_of(pid)
}

/// Whether that process still lives. A process of an earlier boot is dead, whoever has its pid now.
pub fn liveness(identity: &ProcessIdentity) -> Liveness {
    platform::liveness(identity)
}

/// How processes of this pid namespace are that may be that one: itself, or where it counts in a
/// namespace below this one (a container's), whoever it is here. More than one only where the system
/// does not tell them apart; none where it is not visible. Blocks for a look at every process where
/// the namespace is another.
pub fn seen_here(identity: &ProcessIdentity) -> Vec<ProcessIdentity> {
    #[cfg(target_os = "linux")]
    return platform::seen_here(identity);
    #[cfg(not(target_os = "linux"))]
    return vec![identity.clone()];
}

/// Whether that process is known to live: what the locks of `store` ask.
pub fn is_alive(identity: &ProcessIdentity) -> bool {
    liveness(identity) == Liveness::Alive
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_is_always_the_same() {
        let me = own_identity().unwrap();
        assert_eq!(me, own_identity().unwrap());
        assert_eq!(me.pid, std::process::id());
        assert_eq!(liveness(&me), Liveness::Alive);
    }

    #[test]
    fn another_start_with_the_same_pid_is_another_process() {
        let me = own_identity().unwrap();
        let earlier = ProcessIdentity { start_time: me.start_time - 1, ..me.clone() };
        assert_eq!(liveness(&earlier), Liveness::Dead);
        let nobody = ProcessIdentity { pid: i32::MAX as u32, ..me.clone() };
        assert_eq!(liveness(&nobody), Liveness::Dead);
        let impossible = ProcessIdentity { pid: u32::MAX, ..me.clone() };
        assert_eq!(liveness(&impossible), Liveness::Dead);
        assert_eq!(liveness(&ProcessIdentity { pid: 0, ..me }), Liveness::Dead);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_boot_is_dead_and_another_pid_namespace_unknown() {
        let me = own_identity().unwrap();
        let boot = ProcessIdentity { boot_id: "another".into(), ..me.clone() };
        assert_eq!(liveness(&boot), Liveness::Dead);
        let namespace = ProcessIdentity { pid_namespace: me.pid_namespace + 1, ..me };
        assert_eq!(liveness(&namespace), Liveness::Unknown);
        assert!(!is_alive(&namespace));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_lives_until_it_ends_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = platform::identity_of(child.id()).unwrap();
        assert_eq!(liveness(&identity), Liveness::Alive);
        child.kill().unwrap();
        let begun = std::time::Instant::now();
        while liveness(&identity) != Liveness::Dead {
            assert!(begun.elapsed().as_secs() < 10, "still {:?}", liveness(&identity));
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(liveness(&identity), Liveness::Dead);
    }
}
