//! The heaps of this process.

/// Lets all threads allocate from at most `most` heaps. To be called before threads are started.
///
/// The allocator of the GNU C library makes up to eight heaps for each processor, threads spread over
/// all of them, and what is freed in one serves no other: each of a server's many mostly idle threads
/// (those of SQLite, of the log) would keep its own. With fewer, memory is used again; two threads that
/// allocate in the same one at the same moment wait for each other for nanoseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn share_heaps(most: u16) {
    use std::ffi::c_int;

    unsafe extern "C" {
        /// `malloc.h`. Takes any number and is safe at any moment; the manual, `mallopt(3)`, asks for
        /// nothing else.
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    /// `M_ARENA_MAX` of `malloc.h`.
    const ARENA_MAX: c_int = -8;

    if mallopt(ARENA_MAX, most.max(1).into()) == 0 {
        tracing::debug!(most, "the allocator makes as many heaps as it likes");
    }
}

/// Other allocators share by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_heaps(_most: u16) {}
