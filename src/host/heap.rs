//! The heaps of this process.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use gnu::{give_back_unused_memory, keep_large_pieces_apart, share_heaps};

/// The allocator of the GNU C library.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod gnu {
    use std::ffi::c_int;

    unsafe extern "C" {
        /// `malloc.h`. Takes any number and is safe at any moment; the manual, `mallopt(3)`, asks for
        /// nothing else.
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
        /// `malloc.h`. Likewise, `malloc_trim(3)`.
        safe fn malloc_trim(pad: usize) -> c_int;
    }

    /// `M_ARENA_MAX` of `malloc.h`.
    const ARENA_MAX: c_int = -8;

    /// `M_MMAP_THRESHOLD` of `malloc.h`.
    const MMAP_THRESHOLD: c_int = -3;

    /// Where large begins, in bytes: above the buffers that bodies pass through, for which a mapping
    /// each time would be slow.
    const LARGE: c_int = 192 * 1_024;

    /// Lets every large piece of memory be a mapping of its own, which goes back to the system as soon as
    /// it is freed. To be called before threads are started.
    ///
    /// Left to itself the allocator takes the largest piece that was ever freed for the size from which
    /// on pieces are large (`mallopt(3)`, `M_MMAP_THRESHOLD`). The buffer that a registry's list is read
    /// into, a few times a minute, then lies in the heap, and what is allocated above it in the meantime
    /// keeps its room for good.
    pub fn keep_large_pieces_apart() {
        if mallopt(MMAP_THRESHOLD, LARGE) == 0 {
            tracing::debug!("the allocator decides what is large");
        }
    }

    /// Lets all threads allocate from at most `most` heaps. To be called before threads are started.
    ///
    /// The allocator makes up to eight heaps for each processor, threads spread over all of them, and
    /// what is freed in one serves no other: each of a server's many mostly idle threads (those of
    /// SQLite, of the log) would keep its own. With fewer, memory is used again; two threads that
    /// allocate in the same one at the same moment wait for each other for nanoseconds.
    pub fn share_heaps(most: u16) {
        if mallopt(ARENA_MAX, most.max(1).into()) == 0 {
            tracing::debug!(most, "the allocator makes as many heaps as it likes");
        }
    }

    /// Gives whole pages that are free back to the system. Walks every heap, and threads that allocate
    /// in the one that is walked wait.
    pub fn give_back_unused_memory() {
        // Whether there was any.
        let _gave = malloc_trim(0);
    }
}

/// Other allocators share by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_heaps(_most: u16) {}

/// Other allocators do by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_large_pieces_apart() {}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_unused_memory() {}
