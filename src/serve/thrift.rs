//! Memory that lies unused goes back to the system.
//!
//! A server in use allocates and frees all the time, from many threads, and what is free lies scattered
//! between what is not: an allocator that is left to itself keeps all of it.

use std::time::Duration;

use crate::host;
use crate::lifecycle::StopWatch;

/// Between two times.
const BEAT: Duration = Duration::from_secs(60);

/// Gives back until a stop was asked for.
pub(super) async fn run(mut stop: StopWatch) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = stop.stopping() => return,
        }
        // A panic of it would be the allocator's: there is nothing to be done about one here.
        tokio::task::spawn_blocking(host::give_back_unused_memory).await.ok();
    }
}
