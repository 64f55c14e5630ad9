//! How the kernel shares the processors between the threads of this process and all others.
#![allow(unsafe_code, reason = "a system call that no safe library offers")]

/// When the calling thread wakes up, it takes no processor away from whoever is at work on one (`SCHED_BATCH`, sched(7)).
///
/// For threads of the network and of plugins. They wake up for every segment that arrives, and each time the kernel would interrupt
/// the other processor, which is at work on what is waited for: the reader, or a server on the same machine. Threads that they
/// start inherit it.
pub(crate) fn wake_up_quietly() {
    schedule_as(libc::SCHED_BATCH);
}

/// The calling thread is scheduled as any other program is. For threads that answer the kernel: their readers have nothing else to do, and
/// on processors that others keep busy they would wait for milliseconds for what takes microseconds.
pub(crate) fn wake_up_at_once() {
    schedule_as(libc::SCHED_OTHER);
}

fn schedule_as(policy: libc::c_int) {
    let priority: libc::c_int = 0;
    // By its number, as musl has no such function. Where it is not allowed the thread is scheduled as others are, and nothing is lost but time.
    // SAFETY: sched_setscheduler(2) reads a `struct sched_param`, in the kernel one `int`, and changes nothing but this thread's policy.
    let _ = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
}
