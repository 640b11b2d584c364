//! Keeps threads that serve connections or load models off the executors' cores.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps the calling thread to those cores; anywhere, if there is none.
pub fn keep_to(cores: &[usize]) {
    if cores.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(?cores, %error, "a thread cannot be kept off the executors' cores");
    }
}
