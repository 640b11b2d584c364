//! Threads that work only when nobody else wants their core.
#![expect(unsafe_code, reason = "the one system call that rustix does not offer")]

/// Puts the calling thread into the system's idle class: any other thread that wakes up on its core goes first, at
/// once, where a merely nice thread would keep the core for the rest of its slice of some milliseconds.
///
/// # Errors
/// The system's own, where it does not allow that.
pub fn yield_to_all() -> std::io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters live until the call returns.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_always_yield_to_all() {
        let thread = std::thread::spawn(|| {
            yield_to_all().unwrap();
            // SAFETY: it reads the class of the calling thread.
            unsafe { libc::sched_getscheduler(0) }
        });
        assert_eq!(thread.join().unwrap(), libc::SCHED_IDLE);
    }
}
