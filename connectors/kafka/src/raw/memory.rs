//! What glibc's allocator is told, since librdkafka's threads and buffers are not what it is made for. Other C libraries
//! have one pool, or do not grow so.

/// Has all threads allocate from one pool.
///
/// glibc gives each its own, eight for each processor at most, and what a pool once held it hardly
/// gives back. With every session that is lost librdkafka ends its threads and begins others, so
/// that one pool after the other grew to what a client takes. They would rarely wait for each
/// other: one thread does nearly all of the work.
///
/// `man 3 mallopt`, `M_ARENA_MAX`.
pub(crate) fn share_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it sets a number, which may be done at any time.
        let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        debug_assert_eq!(set, 1, "the C library knows of pools");
    }
}

/// Gives free pages back to the system, also those with something in use behind them.
///
/// What was fetched is freed event by event, in the order of the answers of functions, so that the
/// pool is full of holes after each fault or burst. By itself glibc gives back its end alone. It
/// takes a millisecond or two, in which nobody else can allocate: for every ten seconds, not for
/// every event.
///
/// `man 3 malloc_trim`.
pub(crate) fn return_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it may be called at any time, by any thread.
        let _returned = unsafe { libc::malloc_trim(0) };
    }
}
