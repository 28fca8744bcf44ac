//! The end of a process, told by kqueue.

use std::time::{Duration, Instant};

use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue};
use rustix::io::Errno;

use crate::host::{Liveness, liveness, unpinned};
use crate::model::ProcessIdentity;

/// Waits for its end, at most that long; whether it has ended. Without a kqueue it is looked at again
/// and again.
pub(super) fn wait(identity: &ProcessIdentity, at_most: Duration) -> bool {
    let begun = Instant::now();
    let (Ok(pid), Ok(queue)) = (unpinned::pid_of(identity), kqueue()) else {
        return unpinned::wait(identity, at_most);
    };
    let filter = EventFilter::Proc { pid, flags: ProcessEvents::EXIT };
    let flags = EventFlags::ADD | EventFlags::ONESHOT;
    let asked = [Event::new(filter, flags, std::ptr::null_mut())];
    let mut told = [asked[0]];
    // SAFETY: the event names a process and no descriptor, and carries no pointer.
    let added = unsafe { kevent(&queue, &asked, &mut told[..0], Some(Duration::ZERO)) };
    match added {
        Ok(_) => {}
        // It is gone by now.
        Err(Errno::SRCH) => return true,
        Err(_) => return unpinned::wait(identity, at_most.saturating_sub(begun.elapsed())),
    }
    // Compared once it is watched: what ends now is told, and who has its pid by now is seen.
    if liveness(identity) == Liveness::Dead {
        return true;
    }
    loop {
        let left = at_most.saturating_sub(begun.elapsed());
        // SAFETY: as above.
        match unsafe { kevent(&queue, &[], &mut told, Some(left)) } {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return unpinned::wait(identity, at_most.saturating_sub(begun.elapsed())),
        }
    }
}
