//! Which cores the threads of this process and of the processes it starts may use.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Error;

/// Keeps the calling thread, and what it starts from now on, on one core; `None` where nothing is to be pinned.
///
/// # Errors
/// The machine has no such core, or this process may not use it.
pub fn pin(core: Option<usize>) -> Result<(), Error> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|error| Error::system(format!("cannot use core {core}"))(error.into()))
}

/// Runs `start` on one core and gives the thread its cores back, so that what it started stays there alone.
pub(crate) fn pinned<T>(
    core: Option<usize>,
    start: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = |error: rustix::io::Errno| Error::system("cannot read or set cores")(error.into());
    let before = sched_getaffinity(None).map_err(failed)?;
    pin(core)?;
    let started = start();
    sched_setaffinity(None, &before).map_err(failed)?;
    started
}
