//! What the C library's allocator is told, so that a process takes no more memory after a burst or a fault than before.
//! Other C libraries than glibc have one pool, or do not grow so.

#![expect(unsafe_code, reason = "the allocator's own functions")]

use std::time::Duration;

/// How often free pages are given back.
const INTERVAL: Duration = Duration::from_secs(10);

/// Has all threads allocate from one pool. To be called before there are others.
///
/// glibc gives each its own, eight for each processor at most, and what a pool once held it hardly
/// gives back. With every session that is lost librdkafka ends its threads and begins others, so
/// that one pool after the other grew to what a client takes. Threads would rarely wait for each
/// other: one does nearly all of the work.
///
/// `man 3 mallopt`, `M_ARENA_MAX`.
pub(crate) fn share() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it sets a number, which may be done at any time.
        let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        debug_assert_eq!(set, 1, "the C library knows of pools");
    }
}

/// Gives free pages back to the system now and then, also those with something in use behind them.
///
/// What was received is freed event by event, in the order of the answers of functions, so that the
/// pool is full of holes after each fault or burst. By itself glibc gives back its end alone. It
/// takes a millisecond or two where much was in use, in which nobody else can allocate: for every ten
/// seconds, not for every event.
///
/// `man 3 malloc_trim`.
pub(crate) async fn give_back() {
    loop {
        tokio::time::sleep(INTERVAL).await;
        #[cfg(target_env = "gnu")]
        {
            // SAFETY: it may be called at any time, by any thread.
            let _returned = unsafe { libc::malloc_trim(0) };
        }
    }
}
