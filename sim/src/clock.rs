//! The one clock of the simulator: CPU time of the calling thread, for what deciding costs. Worlds have virtual time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that this thread has used; waiting and other programs do not count.
#[must_use]
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("a part of a second in nanoseconds");
    Duration::new(seconds, nanos)
}

/// CPU time that the whole process has used, all threads together.
#[must_use]
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("a part of a second in nanoseconds");
    Duration::new(seconds, nanos)
}
